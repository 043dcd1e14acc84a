//! The command line of `coco-launcher`.

use std::path::PathBuf;

use crate::THREADS_MAX;

/// What `--help` prints.
pub const HELP: &str = "\
coco-launcher: measures, starts and locks down the enclaves of one validating node

usage: coco-launcher --host-fd N --manager IMAGE --worker PROTOCOL=IMAGE ...
                     --platform-key FILE --platform-certificates FILE [options]

  --host-fd N                   inherited descriptor of a connected stream socket whose other end
                                coco-host has; the manager gets it
  --manager IMAGE               path of the manager's image (coco-manager)
  --worker PROTOCOL=IMAGE       path of a worker's image, once for each protocol
  --platform-key FILE           P-256 private key (PEM, PKCS#8) that signs evidence; must be
                                unreadable for group and others
  --platform-certificates FILE  its certificates (PEM), leaf first, up to below the root that the
                                TEE manifest names
  --svn N                       security version of this launcher's installation (default 1)
  --threads N                   threads of a worker, with which an adapter may execute a batch; its
                                outcome is the same (default: one less than there are cores)
  --uid N, --gid N              user and group of launcher and enclaves when started by root
                                (default 64100 both). Must differ from the host's. Not started by
                                root: everything stays as it is and the evidence says shared-user
  --help

Standard error carries one line for each event. Exit status: 0 the manager ended the validating
node in good order; 1 it or something it needs failed, and the last line says why; 2 the command
line cannot be used.
";

/// What the launcher was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    pub host_fd: i32,
    pub manager: PathBuf,
    /// Protocol and image.
    pub workers: Vec<(String, PathBuf)>,
    pub platform_key: PathBuf,
    pub platform_certificates: PathBuf,
    pub svn: u64,
    /// Of a worker. `None`: it decides.
    pub threads: Option<usize>,
    pub uid: u32,
    pub gid: u32,
}

/// The default user of launcher and enclaves: not taken by any distribution's packages.
const ENCLAVE_USER: u32 = 64100;

/// Longest protocol name, which also becomes a process name.
const PROTOCOL_BYTES_MAX: usize = 32;

impl Options {
    /// Reads the arguments after the program's name. `Ok(None)`: help was asked for.
    ///
    /// # Errors
    /// What the person who typed it should change.
    pub fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Option<Self>, String> {
        let mut arguments = arguments.into_iter();
        let (mut host_fd, mut manager, mut key, mut certificates) = (None, None, None, None);
        let mut workers = Vec::new();
        let (mut svn, mut uid, mut gid) = (1, ENCLAVE_USER, ENCLAVE_USER);
        let mut threads = None;
        while let Some(option) = arguments.next() {
            if option == "--help" || option == "-h" {
                return Ok(None);
            }
            let mut value = || {
                arguments
                    .next()
                    .ok_or_else(|| format!("{option} needs a value after it"))
            };
            match option.as_str() {
                "--host-fd" => host_fd = Some(number(&option, &value()?)?),
                "--manager" => manager = Some(value()?.into()),
                "--worker" => workers.push(worker(&value()?)?),
                "--platform-key" => key = Some(value()?.into()),
                "--platform-certificates" => certificates = Some(value()?.into()),
                "--svn" => svn = number(&option, &value()?)?,
                "--threads" => threads = Some(number(&option, &value()?)?),
                "--uid" => uid = number(&option, &value()?)?,
                "--gid" => gid = number(&option, &value()?)?,
                _ => return Err(format!("unknown option {option}; --help lists them")),
            }
        }
        if uid == 0 || gid == 0 {
            return Err("--uid and --gid must not be root's: enclaves never run as root".into());
        }
        if threads.is_some_and(|threads| !(1..=THREADS_MAX).contains(&threads)) {
            return Err(format!("--threads takes 1 to {THREADS_MAX}"));
        }
        let need = |what: &str| format!("{what} is missing; --help lists what is needed");
        Ok(Some(Self {
            host_fd: host_fd.ok_or_else(|| need("--host-fd"))?,
            manager: manager.ok_or_else(|| need("--manager"))?,
            workers,
            platform_key: key.ok_or_else(|| need("--platform-key"))?,
            platform_certificates: certificates.ok_or_else(|| need("--platform-certificates"))?,
            svn,
            threads,
            uid,
            gid,
        }))
    }
}

fn number<N: std::str::FromStr>(option: &str, text: &str) -> Result<N, String> {
    text.parse()
        .map_err(|_| format!("{option} takes a number, found {text:?}"))
}

fn worker(text: &str) -> Result<(String, PathBuf), String> {
    let (protocol, image) = text
        .split_once('=')
        .ok_or_else(|| format!("--worker takes PROTOCOL=IMAGE, found {text:?}"))?;
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if protocol.is_empty() || protocol.len() > PROTOCOL_BYTES_MAX || !protocol.chars().all(plain) {
        return Err(format!(
            "{protocol:?} is not a protocol's name (lower case, digits, '-')"
        ));
    }
    Ok((protocol.to_owned(), image.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Option<Options>, String> {
        Options::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn a_full_line_is_understood() {
        let line = "--host-fd 5 --manager m --worker kv=k --worker ethereum=e --platform-key p \
                    --platform-certificates c --uid 70000";
        let options = parse(line).expect("good").expect("not help");
        assert_eq!(
            options.workers,
            [("kv".into(), "k".into()), ("ethereum".into(), "e".into())]
        );
        assert_eq!(
            (options.host_fd, options.uid, options.gid),
            (5, 70000, ENCLAVE_USER)
        );
    }

    #[test]
    fn what_cannot_be_used_is_explained() {
        for (line, part) in [
            ("--host-fd x", "takes a number"),
            ("--host-fd", "needs a value"),
            ("--worker kv", "PROTOCOL=IMAGE"),
            ("--worker ../x=y", "not a protocol's name"),
            ("--uid 0", "never run as root"),
            ("--threads 0", "takes 1 to 64"),
            ("--threads 65", "takes 1 to 64"),
            ("--manger m", "unknown option --manger"),
            ("--manager m", "--host-fd is missing"),
        ] {
            let error = parse(line).expect_err(line);
            assert!(error.contains(part), "{line}: {error}");
        }
        assert_eq!(parse("--manager m --help"), Ok(None));
    }
}
