//! Settings by name, for changes that set one of them.

use crate::{BadChange, Settings};

macro_rules! settings {
    ($($name:ident),*) => {
        impl Settings {
            /// Names of all settings, as in the text form.
            pub const NAMES: &[&str] = &[$(stringify!($name)),*];

            /// One setting by its name.
            pub fn get(&self, name: &str) -> Option<u64> {
                match name {
                    $(stringify!($name) => Some(self.$name.into()),)*
                    _ => None,
                }
            }

            /// Sets one by its name; [`crate::Constitution::validate`] says whether it is in range.
            ///
            /// # Errors
            /// [`BadChange::Setting`], [`BadChange::TooLarge`].
            pub fn set(&mut self, name: &str, value: u64) -> Result<(), BadChange> {
                match name {
                    $(stringify!($name) => {
                        self.$name = value.try_into().map_err(|_| BadChange::TooLarge { name: name.into(), value })?;
                    })*
                    _ => return Err(BadChange::Setting(name.into())),
                }
                Ok(())
            }
        }
    };
}

settings!(
    epoch_length_ms,
    key_threshold,
    session_key_ttl_ms,
    lease_length_ms,
    batch_units_max,
    batch_bytes_max,
    batches_in_flight_max,
    restart_faults_max,
    snapshot_entries,
    snapshot_minutes,
    snapshots_kept
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_can_be_set_by_its_name() {
        let text = toml::to_string(&Settings::default()).expect("text");
        let named: Vec<_> = text
            .lines()
            .filter_map(|l| l.split_once(" = "))
            .map(|(name, _)| name)
            .collect();
        assert_eq!(named, Settings::NAMES);
        for name in Settings::NAMES {
            let mut settings = Settings::default();
            settings.set(name, 12_345).expect("its name");
            assert_eq!(settings.get(name), Some(12_345));
            assert_ne!(settings, Settings::default());
        }
        let mut settings = Settings::default();
        assert!(settings.set("batch", 1).is_err());
        assert!(settings.set("key_threshold", 1 << 32).is_err());
        assert_eq!(settings, Settings::default());
    }
}
