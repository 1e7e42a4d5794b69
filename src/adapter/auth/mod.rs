//! Who may subscribe to what, for front ends whose people have JWTs.

pub mod room;
