//! Talking to nodes at their control ports, as an operator does: one line, one answer.

use std::io::{self, Read, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::time::{Duration, Instant};

use seqcast_engine::agents::links::OperatorCommand;
use seqcast_engine::agents::status::Report;
use serde::{Deserialize, Serialize};

/// Longest answer that is read.
const MAX_ANSWER_BYTES: u64 = 1 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    /// Nobody is there, or nobody answers in time.
    #[error("unreachable: {0}")]
    Unreachable(io::Error),
    /// It refused, and said why; or closed without a word.
    #[error("refused: {0}")]
    Refused(String),
    /// The answer is none.
    #[error("the answer makes no sense: {0}")]
    Nonsense(String),
}

/// What became of a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) command: String,
    /// `done`, `refused` or `unknown`.
    pub(crate) outcome: String,
    pub(crate) what: String,
}

/// How the node at `address` stands.
pub(crate) fn status(address: SocketAddrV4, patience: Duration) -> Result<Report, AskError> {
    parsed(&ask(address, "status", patience)?)
}

/// Tells the node at `address` what to do, and what became of it.
pub(crate) fn command(
    address: SocketAddrV4,
    command: OperatorCommand,
    patience: Duration,
) -> Result<Outcome, AskError> {
    parsed(&ask(address, command.word(), patience)?)
}

fn parsed<T: for<'de> Deserialize<'de>>(answer: &str) -> Result<T, AskError> {
    serde_json::from_str(answer).map_err(|error| AskError::Nonsense(error.to_string()))
}

fn ask(address: SocketAddrV4, line: &str, patience: Duration) -> Result<String, AskError> {
    let answer = exchange(address, line, patience).map_err(AskError::Unreachable)?;
    match answer.lines().next() {
        None => {
            Err(AskError::Refused("closed without a word; is this address among cluster.operators?".into()))
        }
        Some(said) => match said.strip_prefix("BYE ") {
            Some(why) => Err(AskError::Refused(why.to_owned())),
            None => Ok(said.to_owned()),
        },
    }
}

fn exchange(address: SocketAddrV4, line: &str, patience: Duration) -> io::Result<String> {
    let until = Instant::now() + patience;
    let left = || match until.saturating_duration_since(Instant::now()) {
        Duration::ZERO => Err(io::Error::new(io::ErrorKind::TimedOut, "no answer in time")),
        left => Ok(left),
    };
    let mut stream = TcpStream::connect_timeout(&address.into(), left()?)?;
    stream.set_write_timeout(Some(left()?))?;
    stream.write_all(format!("{line}\n").as_bytes())?;
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    while answer.len() as u64 <= MAX_ANSWER_BYTES {
        stream.set_read_timeout(Some(left()?))?;
        match stream.read(&mut piece) {
            Ok(0) => break,
            Ok(count) => answer.extend_from_slice(&piece[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // As the kernel says that time is up.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                left()?;
            }
            // Whoever is turned away at the door reads a reset, and has got no answer.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => break,
            Err(error) => return Err(error),
        }
    }
    String::from_utf8(answer).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, TcpListener};
    use std::thread;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    /// Somebody who reads a line and answers `answer`.
    fn answering(answer: &'static [u8]) -> (SocketAddrV4, thread::JoinHandle<String>) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let SocketAddr::V4(address) = listener.local_addr().unwrap() else { unreachable!() };
        let thread = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut line = Vec::new();
            let mut byte = [0];
            while line.last() != Some(&b'\n') && stream.read(&mut byte).unwrap() == 1 {
                line.push(byte[0]);
            }
            stream.write_all(answer).unwrap();
            String::from_utf8(line).unwrap()
        });
        (address, thread)
    }

    #[test]
    fn a_command_is_a_line_and_its_outcome_is_json() {
        let (at, asked) = answering(b"{\"command\":\"retire\",\"outcome\":\"done\",\"what\":\"ok\"}\n");
        let outcome = command(at, OperatorCommand::Retire, PATIENCE).unwrap();
        assert_eq!((outcome.outcome.as_str(), outcome.what.as_str()), ("done", "ok"));
        assert_eq!(asked.join().unwrap(), "retire\n");
    }

    #[test]
    fn what_is_no_answer_is_told_apart() {
        let (at, _) = answering(b"BYE not now\n");
        assert_eq!(status(at, PATIENCE).unwrap_err().to_string(), "refused: not now");
        let (at, _) = answering(b"");
        assert!(
            matches!(status(at, PATIENCE), Err(AskError::Refused(why)) if why.contains("cluster.operators"))
        );
        let (at, _) = answering(b"HTTP/1.1 200 OK\r\n\r\n");
        assert!(matches!(status(at, PATIENCE), Err(AskError::Nonsense(_))));
        let free = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        let nobody = SocketAddrV4::new([127, 0, 0, 1].into(), free);
        assert!(matches!(status(nobody, PATIENCE), Err(AskError::Unreachable(_))));
        let silent = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let at = SocketAddrV4::new([127, 0, 0, 1].into(), silent.local_addr().unwrap().port());
        assert!(
            matches!(status(at, Duration::from_millis(1)), Err(AskError::Unreachable(_))),
            "not for ever"
        );
    }
}
