//! Scripts for a worker and their transcripts. The manager is the script; machine and front are small
//! and use every door that the adapter interface has.

mod protocol;
mod script;

mod anything;
mod cataloguing;
mod clients;
mod external;
mod following;
mod leading;
mod migrating;
mod snapshots;
mod validation;
