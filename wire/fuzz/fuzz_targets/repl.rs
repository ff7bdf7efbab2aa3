#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| seqcast_wire_fuzz::repl(data));
