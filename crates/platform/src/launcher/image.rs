//! An enclave image: a sealed copy in memory and its measurement.
//!
//! The file on disk may change at any time. So it is copied into memory first, sealed so that not
//! even its maker can change it, and the sealed copy is what is measured and what is executed.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{MemfdFlags, Mode, SealFlags};
use rustix::io::Errno;

/// Largest image that is started. A release build of a worker has some 20 MB.
const IMAGE_BYTES_MAX: u64 = 1 << 30;

/// SHA-384 of an image.
pub type Measurement = [u8; 48];

/// An image that was not loaded.
#[derive(Debug, thiserror::Error)]
#[error("cannot load the image {path}: {what}")]
pub struct Unloadable {
    path: PathBuf,
    what: String,
}

/// A sealed and measured copy of an image.
#[derive(Debug)]
pub struct Image {
    sealed: OwnedFd,
    measurement: Measurement,
}

impl Image {
    /// Copies a file into memory, seals it and measures the copy.
    ///
    /// # Errors
    /// The error names the file and what to do.
    pub fn load(path: &Path) -> Result<Self, Unloadable> {
        let unloadable = |error: io::Error| Unloadable {
            path: path.to_owned(),
            what: match error.kind() {
                io::ErrorKind::NotFound => {
                    "no such file; build the images or name their path".into()
                }
                _ => error.to_string(),
            },
        };
        Self::copy(path).map_err(unloadable)
    }

    fn copy(path: &Path) -> io::Result<Self> {
        let mut source = File::open(path)?;
        if source.metadata()?.len() > IMAGE_BYTES_MAX {
            return Err(io::Error::other("larger than any image"));
        }
        let mut copy = File::from(memory_file()?);
        io::copy(&mut source, &mut copy)?;
        let sealed = OwnedFd::from(copy);
        rustix::fs::fcntl_add_seals(
            &sealed,
            SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL,
        )?;
        let measurement = crypto::sha384(&read_all(&sealed)?);
        // Executable, not readable: a process whose image its own user may not read is born
        // undumpable, so there is no moment at which others of that user could look inside.
        rustix::fs::fchmod(&sealed, Mode::XUSR | Mode::XGRP | Mode::XOTH)?;
        Ok(Self {
            sealed,
            measurement,
        })
    }

    pub fn measurement(&self) -> &Measurement {
        &self.measurement
    }

    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.sealed.as_fd()
    }
}

fn memory_file() -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    match rustix::fs::memfd_create("coco-image", flags | MemfdFlags::EXEC) {
        // Before Linux 6.3 every such file can be executed and the flag is unknown.
        Err(Errno::INVAL) => Ok(rustix::fs::memfd_create("coco-image", flags)?),
        made => Ok(made?),
    }
}

fn read_all(file: &OwnedFd) -> io::Result<Vec<u8>> {
    let bytes = usize::try_from(rustix::fs::fstat(file)?.st_size).map_err(io::Error::other)?;
    let mut content = vec![0; bytes];
    let mut at = 0;
    while at < bytes {
        match rustix::io::pread(file, &mut content[at..], at as u64)? {
            0 => return Err(io::Error::other("a sealed file became shorter")),
            more => at += more,
        }
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn file(content: &[u8]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().expect("temporary file");
        file.write_all(content).expect("written");
        file
    }

    #[test]
    fn a_measured_image_cannot_be_changed_by_anybody() {
        let image = Image::load(file(b"an image").path()).expect("loaded");
        let fd = image.descriptor();
        assert_eq!(rustix::io::pwrite(fd, b"x", 0), Err(Errno::PERM));
        assert_eq!(rustix::fs::ftruncate(fd, 0), Err(Errno::PERM));
        assert_eq!(rustix::fs::ftruncate(fd, 100), Err(Errno::PERM));
        assert_eq!(
            rustix::fs::fcntl_add_seals(fd, SealFlags::FUTURE_WRITE),
            Err(Errno::PERM)
        );
        assert_eq!(read_all(&image.sealed).expect("read"), b"an image");
    }

    #[test]
    fn the_file_may_change_after_it_was_measured_and_the_image_does_not() {
        let file = file(b"an image");
        let image = Image::load(file.path()).expect("loaded");
        std::fs::write(file.path(), b"another").expect("written");
        assert_eq!(
            crypto::sha384(&read_all(&image.sealed).expect("read")),
            *image.measurement()
        );
    }

    #[test]
    fn another_image_has_another_measurement() {
        let a = Image::load(file(b"an image").path()).expect("loaded");
        let b = Image::load(file(b"an imagf").path()).expect("loaded");
        assert_eq!(a.measurement(), &crypto::sha384(b"an image"));
        assert_ne!(a.measurement(), b.measurement());
    }

    #[test]
    fn a_missing_image_is_named() {
        let error = Image::load(Path::new("/nowhere/coco-manager")).expect_err("no such file");
        assert!(
            error.to_string().contains("/nowhere/coco-manager"),
            "{error}"
        );
    }
}
