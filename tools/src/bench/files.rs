//! A report in files: JSON, a page with plots, and the histograms in the two forms of HdrHistogram.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::Context;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};
use seqcast_engine::stat::write_hgrm;

use super::page;
use super::report::{Report, Series};

/// Writes `report` into `dir`, which is made where it is missing, and gives the files.
///
/// # Errors
/// What the file system refused.
pub(crate) fn write(report: &Report, dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let mut files = Vec::new();
    let mut put = |name: String, write: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>| {
        let path = dir.join(name);
        let written = File::create(&path).map(BufWriter::new).and_then(|mut file| {
            write(&mut file)?;
            file.flush()
        });
        written.with_context(|| format!("cannot write {}", path.display()))?;
        files.push(path);
        anyhow::Ok(())
    };
    put(format!("{}.json", report.bench), &mut |mut file| {
        serde_json::to_writer_pretty(&mut file, report)?;
        writeln!(file)
    })?;
    put(format!("{}.html", report.bench), &mut |file| file.write_all(page::page(report).as_bytes()))?;
    for variant in &report.variants {
        for series in &variant.series {
            let name = file_name(&[&report.bench, &variant.name, &series.name]);
            put(format!("{name}.hgrm"), &mut |mut file| write_hgrm(&series.merged(), &mut file))?;
        }
    }
    if report.variants.iter().any(|variant| !variant.series.is_empty()) {
        put(format!("{}.hlog", report.bench), &mut |mut file| write_hlog(report, &mut file))?;
    }
    Ok(files)
}

/// All series with an interval for each repeat, tagged by variant and series, values in ns.
fn write_hlog(report: &Report, out: &mut impl Write) -> io::Result<()> {
    let mut intervals = Vec::new();
    for variant in &report.variants {
        for Series { name, repeats } in &variant.series {
            let tag = file_name(&[&variant.name, name]);
            intervals.extend(repeats.iter().map(|(began, latency)| (*began, tag.clone(), latency)));
        }
    }
    intervals.sort_by_key(|(began, ..)| *began);
    let start = intervals.first().map_or(SystemTime::UNIX_EPOCH, |(began, ..)| *began);
    let length = Duration::from_secs_f64(
        report.parameters.get("seconds").and_then(|seconds| seconds.parse().ok()).unwrap_or(0.0),
    );
    let mut serializer = V2DeflateSerializer::new();
    let mut log = IntervalLogWriterBuilder::new()
        .add_comment(&format!("[{}: {}; values in ns]", report.bench, report.what))
        .with_start_time(start)
        .with_base_time(start)
        .with_max_value_divisor(1.0)
        .begin_log_with(out, &mut serializer)?;
    for (began, tag, latency) in intervals {
        let since = began.duration_since(start).unwrap_or_default();
        log.write_histogram(latency.histogram(), since, length, Tag::new(&tag)).map_err(io::Error::other)?;
    }
    Ok(())
}

/// Words joined to a name that every file system takes, and no interval log stumbles over.
fn file_name(words: &[&str]) -> String {
    let mut name = String::new();
    for c in words.join(" ").chars() {
        if c.is_ascii_alphanumeric() {
            name.push(c.to_ascii_lowercase());
        } else if c != ',' && !name.ends_with('-') && !name.is_empty() {
            name.push('-');
        }
    }
    name.trim_end_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use hdrhistogram::Histogram;
    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
    use seqcast_engine::stat::Latency;
    use seqcast_engine::time::Nanos;

    use super::super::report::Variant;
    use super::super::testing;
    use super::*;

    fn report() -> Report {
        let mut variant = Variant::new("1 standby, 20,000/s");
        for repeat in 1..=3 {
            let mut latency = Latency::new();
            (1..=repeat * 10).for_each(|ns| latency.record(Nanos(ns * 1_000)));
            let began = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000 + repeat);
            variant.record_latency("all: due → in the book", began, latency);
        }
        testing::report(vec![variant])
    }

    #[test]
    fn all_files_are_written_and_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let report = report();
        let files = write(&report, &dir.path().join("new")).unwrap();
        let names: Vec<_> = files.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
        let hgrm = "pipe-1-standby-20000-s-all-due-in-the-book.hgrm";
        assert_eq!(names, ["pipe.json", "pipe.html", hgrm, "pipe.hlog"]);
        let json: Report = serde_json::from_slice(&fs::read(&files[0]).unwrap()).unwrap();
        assert_eq!(json.variants[0].figures.len(), report.variants[0].figures.len());
        let text = fs::read_to_string(&files[2]).unwrap();
        assert!(text.contains("Total count    =           60]"), "{text}");

        let log = fs::read(&files[3]).unwrap();
        let mut counts = Vec::new();
        for entry in IntervalLogIterator::new(&log) {
            let LogEntry::Interval(interval) = entry.unwrap() else { continue };
            assert_eq!(interval.tag().unwrap().as_str(), "1-standby-20000-s-all-due-in-the-book");
            let bytes =
                base64::engine::general_purpose::STANDARD.decode(interval.encoded_histogram()).unwrap();
            let histogram: Histogram<u64> = Deserializer::new().deserialize(&mut bytes.as_slice()).unwrap();
            counts.push((interval.start_timestamp().as_secs(), histogram.len()));
        }
        assert_eq!(counts, [(0, 10), (1, 20), (2, 30)], "one interval a repeat");
    }

    #[test]
    fn a_file_in_the_way_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, "").unwrap();
        let error = format!("{:#}", write(&report(), &path).unwrap_err());
        assert!(error.contains("file"), "{error}");
    }
}
