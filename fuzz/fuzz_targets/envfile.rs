//! The grammar of config files: no text makes it panic or slow, every refusal points into the
//! text, and what is quoted is read back as it was.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::time::{Duration, Instant};
use subhost::envfile::{parse, quote};

const SCOPE: &[(&str, &str)] = &[("SUBHOST", "/opt/sub host"), ("NAME", "web-1.a")];

fuzz_target!(|text: &[u8]| {
    let start = Instant::now();
    match parse(text, SCOPE) {
        Ok(pairs) => {
            // What was read, written anew, means the same.
            let again: String = pairs
                .iter()
                .map(|pair| format!("{}={}\n", pair.key, quote(&pair.value)))
                .collect();
            let read = parse(again.as_bytes(), &[]).unwrap();
            assert_eq!(pairs.len(), read.len());
            for (one, other) in pairs.iter().zip(&read) {
                assert_eq!((&one.key, &one.value), (&other.key, &other.value));
                assert!(one.line <= text.split(|b| *b == b'\n').count());
            }
        }
        Err(error) => {
            let shown = error.to_string();
            assert!(!shown.contains(|c: char| c.is_control() && c != '\n' && c != '\t'));
            let line = text.split(|b| *b == b'\n').nth(error.line - 1);
            let line = String::from_utf8_lossy(line.expect("a line of the text"));
            assert!(error.column <= line.chars().count() + 1, "{shown}");
        }
    }
    if let Ok(value) = std::str::from_utf8(text)
        && !value.contains('\0')
    {
        let pairs = parse(format!("A={}\n", quote(value)).as_bytes(), &[]).unwrap();
        assert_eq!(pairs[0].value, value);
    }
    assert!(start.elapsed() < Duration::from_secs(2));
});
