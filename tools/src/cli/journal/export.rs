use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use anyhow::Context;
use seqcast_engine::frame::Kind;
use seqcast_engine::limits::MAX_MESSAGE_BYTES;
use seqcast_wire::dump::{self, RECORD_HEADER_BYTES};
use serde::Serialize;

use super::{Frames, Span, Verdict};
use crate::output::{Output, grouped, say, sized};

#[derive(clap::Args)]
pub(super) struct Args {
    /// The journal's directory
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// File to write; an existing one is replaced
    #[arg(long, short, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    span: Span,
}

#[derive(Default, Serialize)]
struct Written {
    file: PathBuf,
    messages: u64,
    bytes: u64,
    /// Number of the first message.
    first: Option<u64>,
    /// Whether the session has ended, and the file says so.
    ended: bool,
    /// Messages of length 0, which the format cannot hold.
    left_out: u64,
}

pub(super) fn run(args: &Args, output: Output) -> anyhow::Result<Verdict> {
    let mut frames = Frames::open(&args.dir, &args.span)?;
    let refused = || format!("cannot write {}; what is there is incomplete", args.out.display());
    let mut out = BufWriter::with_capacity(1 << 20, File::create(&args.out).with_context(refused)?);
    let mut written = Written { file: args.out.clone(), ..Written::default() };
    let mut record = vec![0; RECORD_HEADER_BYTES + MAX_MESSAGE_BYTES];
    while let Some(frame) = frames.next()? {
        let length = match frame.kind() {
            Kind::End => {
                written.ended = true;
                dump::emit_end(&mut record)
            }
            Kind::Message => {
                written.first.get_or_insert(frame.seq().value());
                let length = dump::emit(&mut record, frame.payload());
                *if length > 0 { &mut written.messages } else { &mut written.left_out } += 1;
                length
            }
        };
        out.write_all(&record[..length]).with_context(refused)?;
        written.bytes += length as u64;
    }
    out.flush().with_context(refused)?;
    let verdict = frames.finish();
    tell(&written, output)?;
    Ok(if written.left_out > 0 { Verdict::Incomplete } else { verdict })
}

fn tell(written: &Written, output: Output) -> anyhow::Result<()> {
    let Written { file, messages, bytes, left_out, ended, .. } = written;
    if *left_out > 0 {
        say(format_args!("{left_out} empty messages were left out: a BinaryFILE cannot hold them"));
    }
    if output.json {
        return output.print(written, |_| Ok(()));
    }
    let end = if *ended { ", with the end of the session" } else { "" };
    say(format_args!("wrote {} messages ({}){end} to {}", grouped(*messages), sized(*bytes), file.display()));
    Ok(())
}
