//! Which requests may be asked again on another VN when no byte of an answer came.

/// Most bytes of a connection's first request that are kept for asking again: a JSON-RPC request with
/// a large contract in it.
const KEPT_BYTES_MAX: usize = 1 << 20;

/// What was sent on a connection before its first answer.
pub(super) struct Unanswered {
    bytes: Vec<u8>,
    state: State,
}

#[derive(PartialEq)]
enum State {
    Waiting,
    TooLong,
    Answered,
}

impl Unanswered {
    pub(super) fn new() -> Self {
        Self {
            bytes: Vec::new(),
            state: State::Waiting,
        }
    }

    pub(super) fn sent(&mut self, bytes: &[u8]) {
        if self.state == State::Waiting {
            if self.bytes.len() + bytes.len() > KEPT_BYTES_MAX {
                self.state = State::TooLong;
                self.bytes = Vec::new();
            } else {
                self.bytes.extend_from_slice(bytes);
            }
        }
    }

    pub(super) fn answered(&mut self) {
        if self.state != State::Answered {
            *self = Self {
                bytes: Vec::new(),
                state: State::Answered,
            };
        }
    }

    pub(super) fn is_answered(&self) -> bool {
        self.state == State::Answered
    }

    /// Everything that was sent and not answered.
    pub(super) fn kept(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether that may be sent again elsewhere. An Ethereum request may always: a transaction that comes
    /// twice commits once, by its nonce. Of other protocols only reading is known to be harmless.
    pub(super) fn may_be_sent_again(&self, protocol: &str) -> bool {
        let harmless = protocol == "ethereum"
            || self.bytes.is_empty()
            || self.bytes.starts_with(b"GET ")
            || self.bytes.starts_with(b"HEAD ");
        self.state == State::Waiting && harmless
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(bytes: &[u8]) -> Unanswered {
        let mut unanswered = Unanswered::new();
        unanswered.sent(bytes);
        unanswered
    }

    #[test]
    fn only_what_is_the_same_twice_is_asked_again() {
        assert!(sent(b"POST / x").may_be_sent_again("ethereum"));
        assert!(!sent(b"POST /cas x").may_be_sent_again("kv"));
        assert!(sent(b"GET /a x").may_be_sent_again("kv"));
        assert!(Unanswered::new().may_be_sent_again("kv"));
        assert_eq!(sent(b"GET /a x").kept(), b"GET /a x");
    }

    #[test]
    fn nothing_is_asked_again_after_an_answer_or_beyond_what_is_kept() {
        let mut answered = sent(b"GET / x");
        answered.answered();
        answered.sent(b"GET / y");
        assert!(!answered.may_be_sent_again("ethereum"));
        assert!(!sent(&vec![0; KEPT_BYTES_MAX + 1]).may_be_sent_again("ethereum"));
    }
}
