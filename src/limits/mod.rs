//! How much may be asked for: by one app, and from one address.

mod addresses;
mod meters;

pub use self::addresses::Addresses;
pub use self::meters::{Meters, Refusal, Wish};
