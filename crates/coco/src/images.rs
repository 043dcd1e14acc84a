//! Where the other binaries are: beside this command, or where `--images` says.
//!
//! ```text
//! DIR/coco                      this command
//! DIR/coco-host                 untrusted: sockets, disk, clock
//! DIR/coco-launcher             measures, starts and locks down the enclaves
//! DIR/coco-manager              enclave image
//! DIR/coco-worker-<protocol>    enclave image, one for each protocol
//! ```

use std::path::{Path, PathBuf};

use crate::failure::{Doing, Failure};

/// The binaries of a validating node.
#[derive(Debug, Clone)]
pub(crate) struct Images {
    directory: PathBuf,
}

impl Images {
    /// Those in `directory`, or beside this command.
    pub(crate) fn find(directory: Option<&Path>) -> Result<Self, Failure> {
        let directory = match directory {
            Some(directory) => directory.to_path_buf(),
            None => {
                let own =
                    std::env::current_exe().doing(|| "find this command's own file".to_owned())?;
                own.parent().map(Path::to_path_buf).unwrap_or_default()
            }
        };
        Ok(Self { directory })
    }

    pub(crate) fn host(&self) -> Result<PathBuf, Failure> {
        self.file("coco-host")
    }

    pub(crate) fn launcher(&self) -> Result<PathBuf, Failure> {
        self.file("coco-launcher")
    }

    pub(crate) fn manager(&self) -> Result<PathBuf, Failure> {
        self.file("coco-manager")
    }

    pub(crate) fn worker(&self, protocol: &str) -> Result<PathBuf, Failure> {
        self.file(&format!("coco-worker-{protocol}"))
    }

    /// Protocols for which there is a worker image, by name.
    pub(crate) fn protocols(&self) -> Vec<String> {
        let mut found: Vec<String> = std::fs::read_dir(&self.directory)
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| {
                let name = entry.file_name().into_string().ok()?;
                let protocol = name.strip_prefix("coco-worker-")?;
                let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
                protocol.chars().all(plain).then(|| protocol.to_owned())
            })
            .collect();
        found.sort();
        found
    }

    /// SHA-384 of an image: what the launcher states of it in evidence.
    pub(crate) fn measure(path: &Path) -> Result<[u8; 48], Failure> {
        let bytes = std::fs::read(path).doing(|| format!("read the image {}", path.display()))?;
        Ok(crypto::sha384(&bytes))
    }

    fn file(&self, name: &str) -> Result<PathBuf, Failure> {
        let path = self.directory.join(name);
        if path.is_file() {
            return Ok(path);
        }
        Err(Failure::machine(format!(
            "{} is not in {}. Build it with `cargo build --release --workspace`, or say where the \
             binaries are with --images DIR",
            name,
            self.directory.display()
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_found_by_name_and_a_missing_one_says_how_to_build_it() {
        let directory = tempfile::tempdir().expect("temporary directory");
        for name in [
            "coco-manager",
            "coco-worker-kv",
            "coco-worker-ethereum",
            "coco-worker-kv.d",
        ] {
            std::fs::write(directory.path().join(name), name).expect("written");
        }
        let images = Images::find(Some(directory.path())).expect("a directory");
        assert_eq!(images.protocols(), ["ethereum", "kv"]);
        let manager = images.manager().expect("there");
        assert_eq!(
            Images::measure(&manager).expect("readable"),
            crypto::sha384(b"coco-manager")
        );
        let failure = images.host().expect_err("absent");
        assert!(failure.text.contains("cargo build --release"), "{failure}");
    }
}
