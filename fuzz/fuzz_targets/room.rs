//! Rooms as channel names: every room comes back, and has one name only.
#![no_main]

use fanfare::adapter::auth::room::{decode, encode};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let name = encode(text);
    assert!(
        name.bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_-=@,.;".contains(&byte))
    );
    let room = decode(&name).expect("what encode makes is canonical");
    assert_eq!(encode(&room), name);

    if let Ok(room) = decode(text) {
        assert_eq!(encode(&room), text);
    }
});
