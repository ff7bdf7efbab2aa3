//! Who may log in.

use std::fmt;
use std::hint::black_box;
use std::ops::Range;

use seqcast_wire::soup::{LoginRequest, RejectReason};
use seqcast_wire::{Alpha, SeqNo, Session};

const USERNAME_BYTES: usize = 6;
const PASSWORD_BYTES: usize = 10;

/// A user and his password. Case does not matter, as the protocol has it.
#[derive(Clone, PartialEq, Eq)]
pub struct Account {
    username: [u8; USERNAME_BYTES],
    password: [u8; PASSWORD_BYTES],
}

/// A name or password that cannot stand in a login.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccountError {
    /// The user's name.
    #[error("user name '{0}' must be 1 to 6 ASCII letters, digits or signs")]
    Username(String),
    /// The password, which is not shown.
    #[error("the password of '{0}' must be 1 to 10 ASCII letters, digits or signs")]
    Password(String),
}

impl Account {
    /// An account.
    ///
    /// # Errors
    /// [`AccountError`] when either is empty, too long, or not of graphic ASCII characters.
    pub fn new(username: &str, password: &str) -> Result<Account, AccountError> {
        let is_valid = |text: &str, max: usize| {
            (1..=max).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
        };
        if !is_valid(username, USERNAME_BYTES) {
            return Err(AccountError::Username(username.to_owned()));
        }
        if !is_valid(password, PASSWORD_BYTES) {
            return Err(AccountError::Password(username.to_owned()));
        }
        Ok(Account { username: folded(Alpha::padded(username)), password: folded(Alpha::padded(password)) })
    }

    /// 0 when `request` carries this name and password, without a branch on their content.
    fn difference(&self, request: &LoginRequest) -> u8 {
        let differ =
            |ours: &[u8], theirs: &[u8]| ours.iter().zip(theirs).fold(0, |all, (a, b)| all | (a ^ b));
        differ(&self.username, &folded(request.username)) | differ(&self.password, &folded(request.password))
    }
}

/// The password stays out of logs.
impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Account({})", self.username.escape_ascii())
    }
}

fn folded<const N: usize>(Alpha(bytes): Alpha<N>) -> [u8; N] {
    bytes.map(|byte| byte.to_ascii_lowercase())
}

/// All accounts of a server.
#[derive(Clone, Debug, Default)]
pub struct Accounts {
    accounts: Vec<Account>,
}

impl Accounts {
    /// These accounts and no others; without any, nobody may log in.
    pub fn new(accounts: Vec<Account>) -> Accounts {
        Accounts { accounts }
    }

    /// Judges a login to `session`, of which messages `available` can be sent. Gives the number to start with: the one asked
    /// for; or, when the most recent message is asked for, its number.
    ///
    /// Takes the same time whichever account matches, or none.
    ///
    /// # Errors
    /// [`RejectReason::NotAuthorized`] for a wrong name or password; [`RejectReason::SessionNotAvailable`] for another session,
    /// or a number that is not kept any more or lies beyond the next.
    pub fn judge(
        &self,
        request: &LoginRequest,
        session: Session,
        available: Range<SeqNo>,
    ) -> Result<SeqNo, RejectReason> {
        let mut is_known = false;
        for account in &self.accounts {
            is_known |= black_box(account.difference(request)) == 0;
        }
        if !is_known {
            return Err(RejectReason::NotAuthorized);
        }
        let most_recent = SeqNo::new(available.end.value() - 1).unwrap_or(available.end);
        let first = request.next.unwrap_or(most_recent.max(available.start));
        if !request.is_for(session) || first < available.start || first > available.end {
            return Err(RejectReason::SessionNotAvailable);
        }
        Ok(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seq(value: u64) -> SeqNo {
        SeqNo::new(value).unwrap()
    }

    fn request(username: &str, password: &str, session: &[u8; 10], next: u64) -> LoginRequest {
        LoginRequest {
            username: Alpha::padded(username),
            password: Alpha::padded(password),
            session: Session::from_wire(*session),
            next: SeqNo::new(next),
            heartbeat_timeout: None,
        }
    }

    fn judge(request: &LoginRequest) -> Result<u64, RejectReason> {
        let accounts = [("ANNA", "Secret"), ("bob", "hunter2")];
        let accounts = accounts.map(|(name, password)| Account::new(name, password).unwrap());
        let session = Session::from_wire(*b"SESSION001");
        Accounts::new(accounts.to_vec()).judge(request, session, seq(10)..seq(20)).map(SeqNo::value)
    }

    #[test]
    fn knows_its_accounts_without_regard_to_case() {
        for (name, password, is_known) in [
            ("anna", "SECRET", true),
            ("Bob", "hunter2", true),
            ("anna", "hunter2", false),
            ("bob", "Secret", false),
            ("ann", "Secret", false),
            ("annas", "Secret", false),
            ("anna", "Secret1", false),
            ("anna", "", false),
            ("", "", false),
        ] {
            let expected = if is_known { Ok(12) } else { Err(RejectReason::NotAuthorized) };
            assert_eq!(judge(&request(name, password, b"SESSION001", 12)), expected, "{name} {password}");
        }
        let nobody = Accounts::default();
        let anyone = request("", "", &[b' '; 10], 1);
        assert!(nobody.judge(&anyone, Session::BLANK, SeqNo::FIRST..SeqNo::FIRST).is_err());
    }

    #[test]
    fn starts_where_asked_if_that_is_there() {
        let at = |session: &[u8; 10], next| judge(&request("bob", "hunter2", session, next));
        assert_eq!(at(b"          ", 10), Ok(10));
        assert_eq!(at(b"session001", 20), Ok(20), "the next one to come");
        assert_eq!(at(b"SESSION001", 0), Ok(19), "the most recent one");
        for (session, next) in [(b"SESSION002", 12), (b"SESSION001", 9), (b"SESSION001", 21)] {
            assert_eq!(at(session, next), Err(RejectReason::SessionNotAvailable));
        }
        let bob = Accounts::new(vec![Account::new("bob", "hunter2").unwrap()]);
        let request = request("bob", "hunter2", &[b' '; 10], 0);
        let empty = SeqNo::FIRST..SeqNo::FIRST;
        assert_eq!(bob.judge(&request, Session::BLANK, empty), Ok(SeqNo::FIRST));
    }

    #[test]
    fn refuses_what_cannot_stand_in_a_login_and_shows_no_password() {
        for name in ["", "toolong", "a b", "ü"] {
            assert_eq!(Account::new(name, "x"), Err(AccountError::Username(name.to_owned())));
        }
        let error = Account::new("bob", "elevenchars").unwrap_err();
        assert!(!error.to_string().contains("eleven"));
        let shown = format!("{:?}", Account::new("bob", "hunter2").unwrap());
        assert_eq!(shown, "Account(bob   )");
    }
}
