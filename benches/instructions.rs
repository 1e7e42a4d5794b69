//! Does one piece of the hot path a fixed number of times, for `tests/instructions`
//! to count the instructions: those of the function [`counted`] alone.

mod shapes;

use std::process::ExitCode;

use crate::shapes::Audience;

/// Times that a piece is done before it is counted: what is made once is made then.
const WARM_UP: usize = 10;

fn main() -> ExitCode {
    let piece = std::env::args().nth(1).unwrap_or_default();
    match piece.as_str() {
        "encode" => run(100, shapes::encode()),
        "decode" => run(100, shapes::decode()),
        "request" => run(100, shapes::request()),
        "publish_to_1" => publish(1, 1, 100),
        "publish_to_100" => publish(100, 1, 20),
        "publish_to_1000" => publish(1_000, 1, 5),
        "burst_of_8_to_100" => publish(100, 8, 10),
        "publish_to_64_channels" => {
            let audience = Audience::new(64, 4);
            run(5, || audience.publish_to_each());
        }
        _ => return ExitCode::from(2),
    }
    ExitCode::SUCCESS
}

fn publish(subscribers: usize, burst: usize, times: usize) {
    let audience = Audience::new(1, subscribers);
    run(times, || {
        assert_eq!(audience.publish(burst), burst * subscribers);
    });
}

fn run(times: usize, mut piece: impl FnMut()) {
    for _ in 0..WARM_UP {
        piece();
    }
    counted(times, &mut piece);
}

/// Its name is known to `tests/instructions`.
#[inline(never)]
fn counted(times: usize, piece: &mut dyn FnMut()) {
    for _ in 0..times {
        piece();
    }
}
