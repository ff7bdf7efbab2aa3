//! Replays the fuzzing corpus: every input that once mattered, in every test run.

use std::path::Path;

#[path = "../fuzz/src/lib.rs"]
#[allow(unreachable_pub)]
mod checks;

#[test]
fn every_input_of_the_corpus_holds() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for (name, check) in checks::TARGETS {
        let mut replayed = 0;
        for entry in std::fs::read_dir(corpus.join(name)).expect("a corpus for every target") {
            let path = entry.expect("a directory entry").path();
            let data = std::fs::read(&path).expect("a readable input");
            // The test harness shows this when the check below panics.
            eprintln!("{}", path.display());
            check(&data);
            replayed += 1;
        }
        assert!(replayed > 0, "the corpus of {name} is empty");
    }
}

#[test]
fn every_target_is_declared_and_fed() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let manifest = std::fs::read_to_string(fuzz.join("Cargo.toml")).expect("the manifest");
    for (name, _) in checks::TARGETS {
        assert!(manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")), "{name}");
        assert!(fuzz.join(format!("fuzz_targets/{name}.rs")).exists(), "{name}");
    }
    let folders = std::fs::read_dir(fuzz.join("corpus")).expect("the corpus").count();
    assert_eq!(folders, checks::TARGETS.len(), "a folder without a target is never replayed");
}
