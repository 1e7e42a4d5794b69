//! The scripts, each with what all have in common before it.

use std::sync::LazyLock;

use ::redis::Script;

macro_rules! scripts {
    ($($name:ident = $file:literal;)*) => {
        $(pub(super) static $name: LazyLock<Script> = LazyLock::new(|| {
            Script::new(concat!(include_str!("shared.lua"), include_str!($file)))
        });)*
    };
}

scripts! {
    ADD = "add.lua";
    FINISH = "finish.lua";
    PAUSE = "pause.lua";
    PROMOTE = "promote.lua";
    PUT_BACK = "put_back.lua";
    RECOVER = "recover.lua";
    RENEW = "renew.lua";
    RETRY = "retry.lua";
    TAKE = "take.lua";
    TELL = "tell.lua";
}
