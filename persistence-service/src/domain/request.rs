use std::time::Duration;

use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::{Invalid, RequestId};

/// A change that is safe to repeat: its id, and what it was about.
#[derive(Clone, Debug)]
pub struct Request {
    /// The caller's id for it.
    pub id: RequestId,
    fingerprint: String,
}

impl Request {
    /// A request of this call, user and content.
    ///
    /// The session, the user's name and the time are no part of it: a retry may
    /// come through another socket.
    pub fn new<'a>(
        id: RequestId,
        call: &'static str,
        user: &'a str,
        content: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let mut digest = Sha256::new();
        for part in [call, user].into_iter().chain(content) {
            digest.update((part.len() as u64).to_le_bytes());
            digest.update(part);
        }
        // Half of the digest is plenty to tell two contents of one id apart.
        let mut half = [0; 16];
        half.copy_from_slice(&digest.finalize()[..16]);
        let fingerprint = format!("{:032x}", u128::from_be_bytes(half));
        Self { id, fingerprint }
    }

    /// The content in 32 hexadecimal digits.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// How long its outcome is kept, unless the room ends before.
    pub fn kept_for(&self) -> Duration {
        Duration::from_secs(if self.id.transient { 60 } else { 600 })
    }

    /// The id, where it is the caller's own and so part of what is stored.
    pub fn own_id(&self) -> Option<Uuid> {
        (!self.id.transient).then_some(self.id.id)
    }

    /// What to answer where the id has been used for another content.
    pub fn conflict() -> Invalid {
        Invalid::new("request_id", "was used before for another content")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_tells_call_user_and_content_apart() {
        let id = RequestId {
            id: Uuid::nil(),
            transient: false,
        };
        let print = |call, user, content: &[&str]| {
            Request::new(id, call, user, content.iter().copied())
                .fingerprint()
                .to_owned()
        };
        let first = print("say", "ann", &["hi"]);
        assert_eq!(first, print("say", "ann", &["hi"]));
        assert_eq!(first.len(), 32);
        for other in [
            print("draw", "ann", &["hi"]),
            print("say", "bob", &["hi"]),
            print("say", "ann", &["h", "i"]),
        ] {
            assert_ne!(first, other);
        }
    }
}
