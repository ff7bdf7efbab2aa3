//! A connection that lines go over, both ways, bounded.

use std::fmt::Display;
use std::io;

use super::line::{Line, Lines};
use crate::io::tcp::{Interest, Stream, TryRead};

/// What came.
#[derive(Debug)]
pub(super) enum Heard {
    Line(Line),
    /// Something that is no line: what is wrong with it.
    Nonsense(String),
    Nothing,
    /// The other side has closed.
    Closed,
    /// The connection broke, as it does when the other's kernel knows it no more.
    Broken(io::Error),
}

#[derive(Debug)]
pub(super) struct Pipe {
    stream: Stream,
    lines: Lines,
    output: Vec<u8>,
    written: usize,
}

impl Pipe {
    pub(super) fn new(stream: Stream) -> Pipe {
        Pipe { stream, lines: Lines::new(), output: Vec::new(), written: 0 }
    }

    pub(super) fn stream(&self) -> &Stream {
        &self.stream
    }

    /// What is worth waiting for.
    pub(super) fn interest(&self) -> Interest {
        if self.is_written() { Interest::Read } else { Interest::ReadOrWrite }
    }

    /// Adds a line to what is to be written.
    pub(super) fn say(&mut self, line: impl Display) {
        self.output.extend_from_slice(format!("{line}\n").as_bytes());
    }

    /// Whether nothing waits to be written.
    pub(super) fn is_written(&self) -> bool {
        self.output.is_empty()
    }

    /// Writes what there is room for.
    pub(super) fn write(&mut self) -> io::Result<()> {
        while self.written < self.output.len() {
            match self.stream.try_write(&self.output[self.written..])? {
                0 => return Ok(()),
                len => self.written += len,
            }
        }
        self.output.clear();
        self.written = 0;
        Ok(())
    }

    /// The next line, if one has come.
    pub(super) fn hear(&mut self) -> Heard {
        loop {
            match self.lines.next_line() {
                Some(Ok(line)) => return Heard::Line(line),
                Some(Err(why)) => return Heard::Nonsense(why),
                None if self.lines.is_full() => return Heard::Nonsense("the line is too long".into()),
                None => {}
            }
            match self.stream.try_read(self.lines.room()) {
                Ok(TryRead::Bytes(count)) => self.lines.on_put(count),
                Ok(TryRead::Empty) => return Heard::Nothing,
                Ok(TryRead::Closed) => return Heard::Closed,
                Err(error) => return Heard::Broken(error),
            }
        }
    }

    /// Takes and forgets what comes; whether that is all over.
    pub(super) fn drain(&mut self) -> bool {
        let mut bytes = [0; 1024];
        !matches!(self.stream.try_read(&mut bytes), Ok(TryRead::Bytes(_) | TryRead::Empty))
    }

    /// Says that no more will be written.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        self.stream.finish()
    }
}
