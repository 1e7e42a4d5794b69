//! How long the pieces of the hot path take: `cargo bench --bench pieces`.

mod shapes;

use divan::Bencher;

use crate::shapes::Audience;

fn main() {
    divan::main();
}

#[divan::bench]
fn encode_event_of_256_bytes(bencher: Bencher<'_, '_>) {
    bencher.bench_local(shapes::encode());
}

#[divan::bench]
fn decode_client_event(bencher: Bencher<'_, '_>) {
    bencher.bench_local(shapes::decode());
}

#[divan::bench]
fn check_signed_trigger(bencher: Bencher<'_, '_>) {
    bencher.bench_local(shapes::request());
}

#[divan::bench(args = [1, 100, 1_000])]
fn publish_to_subscribers(bencher: Bencher<'_, '_>, subscribers: usize) {
    let audience = Audience::new(1, subscribers);
    bencher.bench_local(|| audience.publish(1));
}

#[divan::bench(args = [1, 100, 1_000])]
fn burst_of_8_to_subscribers(bencher: Bencher<'_, '_>, subscribers: usize) {
    let audience = Audience::new(1, subscribers);
    bencher.bench_local(|| audience.publish(8));
}

/// Each thread publishes to all of the channels, of 4 subscribers each.
#[divan::bench(threads = [1, 2, 4])]
fn publish_to_64_channels_in_parallel(bencher: Bencher<'_, '_>) {
    let audience = Audience::new(64, 4);
    bencher.bench(|| audience.publish_to_each());
}
