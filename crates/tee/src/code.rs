//! The code manifest: which images the consortium runs.

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::Platform;

/// Most images in one code manifest: some versions of some protocols on some platforms.
const IMAGES_MAX: usize = 256;

/// Longest name or version of an image.
const NAME_BYTES_MAX: usize = 64;

/// Whether an image may be used anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cbor(index_only)]
pub enum CodeState {
    /// VNs on it may join and stay.
    #[n(0)]
    #[default]
    Allowed,
    /// VNs on it may stay for now; nobody may join with it.
    #[n(1)]
    Retiring,
}

/// One image on one platform.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CodeIdentity {
    /// `manager`, or `worker/` and a protocol: `worker/ethereum`.
    #[n(0)]
    pub name: String,
    /// For people: `0.1.0`.
    #[n(1)]
    pub version: String,
    /// Where the measurement was made.
    #[n(2)]
    pub platform: Platform,
    /// See [`crate::Claims::measurement`]; hexadecimal in text.
    #[serde(with = "hex::serde")]
    #[cbor(n(3), with = "minicbor::bytes")]
    pub measurement: Vec<u8>,
    /// Allowed unless said otherwise.
    #[serde(default)]
    #[n(4)]
    pub state: CodeState,
}

/// The images that the consortium endorses; part of the constitution.
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CodeManifest {
    /// In the order in which they were written; no image twice.
    #[n(0)]
    pub images: Vec<CodeIdentity>,
}

/// What is wrong with a code manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadCode {
    #[error(
        "the code manifest has more than {IMAGES_MAX} images: remove those that no VN runs any more"
    )]
    TooMany,
    #[error(
        "the code manifest names an image {0:?}: use `manager` or `worker/PROTOCOL`, at most {NAME_BYTES_MAX} bytes of a-z, 0-9 and -"
    )]
    Name(String),
    #[error("the measurement of {name} has {found} bytes, and {platform} makes {expected}")]
    Length {
        name: String,
        platform: Platform,
        expected: usize,
        found: usize,
    },
    #[error("{0} has no appraiser in this version, so nothing measured there can be admitted")]
    Platform(Platform),
    #[error("the code manifest lists the same measurement twice: {0}")]
    Twice(String),
}

impl CodeManifest {
    /// The image with this measurement.
    pub fn find(&self, platform: Platform, measurement: &[u8]) -> Option<&CodeIdentity> {
        self.images
            .iter()
            .find(|i| i.platform == platform && i.measurement == measurement)
    }

    /// Checks what a proposal or a genesis wants to make the code manifest.
    ///
    /// # Errors
    /// [`BadCode`]: whoever wrote it must change it.
    pub fn validate(&self) -> Result<(), BadCode> {
        if self.images.len() > IMAGES_MAX {
            return Err(BadCode::TooMany);
        }
        for (place, image) in self.images.iter().enumerate() {
            if !is_name(&image.name) || image.version.len() > NAME_BYTES_MAX {
                return Err(BadCode::Name(image.name.clone()));
            }
            let expected = image
                .platform
                .measurement_bytes()
                .ok_or(BadCode::Platform(image.platform))?;
            if image.measurement.len() != expected {
                return Err(BadCode::Length {
                    name: image.name.clone(),
                    platform: image.platform,
                    expected,
                    found: image.measurement.len(),
                });
            }
            let found = self.images[..place]
                .iter()
                .any(|i| i.platform == image.platform && i.measurement == image.measurement);
            if found {
                return Err(BadCode::Twice(hex::encode(&image.measurement)));
            }
        }
        Ok(())
    }
}

fn is_name(name: &str) -> bool {
    let part = |p: &str| {
        !p.is_empty()
            && p.bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    name.len() <= NAME_BYTES_MAX
        && (name == "manager" || name.strip_prefix("worker/").is_some_and(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(name: &str, seed: u8) -> CodeIdentity {
        CodeIdentity {
            name: name.into(),
            version: "0.1.0".into(),
            platform: Platform::Software,
            measurement: vec![seed; 48],
            state: CodeState::Allowed,
        }
    }

    #[test]
    fn a_manifest_survives_both_encodings() {
        let mut manifest = CodeManifest {
            images: vec![image("manager", 1), image("worker/ethereum", 2)],
        };
        manifest.images[1].state = CodeState::Retiring;
        assert_eq!(manifest.validate(), Ok(()));
        let text = serde_json::to_string(&manifest).expect("text");
        assert!(text.contains("\"platform\":\"software\""), "{text}");
        assert_eq!(
            serde_json::from_str::<CodeManifest>(&text).expect("own text"),
            manifest
        );
        let bytes = minicbor::to_vec(&manifest).expect("bytes");
        assert_eq!(
            minicbor::decode::<CodeManifest>(&bytes).expect("own bytes"),
            manifest
        );
    }

    #[test]
    fn what_cannot_be_admitted_is_refused_when_it_is_written() {
        let refused = |change: fn(&mut CodeManifest)| {
            let mut manifest = CodeManifest {
                images: vec![image("manager", 1), image("worker/kv", 2)],
            };
            change(&mut manifest);
            manifest.validate().expect_err("refused")
        };
        assert!(matches!(
            refused(|m| m.images[0].name = "worker/".into()),
            BadCode::Name(_)
        ));
        assert!(matches!(
            refused(|m| m.images[0].measurement.truncate(32)),
            BadCode::Length { found: 32, .. }
        ));
        assert!(matches!(
            refused(|m| m.images[1].measurement = vec![1; 48]),
            BadCode::Twice(_)
        ));
        assert!(matches!(
            refused(|m| m.images[1].platform = Platform::Vbs),
            BadCode::Platform(Platform::Vbs)
        ));
    }
}
