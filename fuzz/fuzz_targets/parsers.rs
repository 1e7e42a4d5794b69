//! Parsers that are private to their modules; the first byte of the input chooses one.
#![no_main]

use fanfare::fuzzing::parsers;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| parsers(input));
