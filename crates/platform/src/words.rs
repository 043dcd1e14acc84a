//! What an enclave tells the launcher about itself, in lines on its standard error.
//!
//! The launcher reads the first line as the report of the lock-down and keeps the last lines as the
//! reason why the process ended. No formatted value leaves this way in a release build: the text of
//! a panic may hold a secret, its place in the source does not.

use std::io::Write;
use std::panic::PanicHookInfo;

/// First word of the report.
pub(crate) const LOCKED: &str = "locked";

/// First word of a reason.
pub(crate) const ENDED: &str = "ended:";

/// Exit status after a panic.
pub(crate) const PANICKED: i32 = 101;

/// Exit status after an ending that the process chose and explained.
pub(crate) const EXPLAINED: i32 = 1;

/// Reports the lock-down and what it lacked.
pub(crate) fn locked(missing: &[String]) {
    say(&format!("{LOCKED} {}\n", missing.join(",")));
}

/// The features that a report names as missing; `None` if the line is no report.
pub(crate) fn parse_locked(line: &str) -> Option<Vec<String>> {
    let rest = line.strip_prefix(LOCKED)?.trim();
    Some(
        rest.split(',')
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect(),
    )
}

/// Ends the process after saying why.
pub(crate) fn end(reason: &str, status: i32) -> ! {
    say(&format!("{ENDED} {reason}\n"));
    crate::syscalls::exit_now(status)
}

/// A panic is reported by its place and, where it is a literal, its text.
pub(crate) fn report_panics() {
    std::panic::set_hook(Box::new(|panic| end(&describe(panic), PANICKED)));
}

fn describe(panic: &PanicHookInfo<'_>) -> String {
    let place = panic
        .location()
        .map_or_else(|| "unknown place".into(), ToString::to_string);
    let literal = panic
        .payload()
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned());
    let formatted = panic
        .payload()
        .downcast_ref::<String>()
        .filter(|_| cfg!(debug_assertions));
    match literal.or_else(|| formatted.cloned()) {
        Some(text) => format!("panic at {place}: {text}"),
        None => format!("panic at {place}"),
    }
}

fn say(line: &str) {
    // The launcher's pipe may be full or closed; there is nobody else to tell.
    let _ = std::io::stderr().write_all(line.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_names_what_is_missing() {
        assert_eq!(
            parse_locked("locked landlock,mdwe"),
            Some(vec!["landlock".into(), "mdwe".into()])
        );
        assert_eq!(parse_locked("locked "), Some(vec![]));
        assert_eq!(parse_locked("thread panicked"), None);
    }
}
