//! Opening an epoch's keys with the parts of M actors: the arithmetic that offline tools use, too.

pub use governance::{Opened, Opening, Parts, ShareCache};
