use std::fmt::Debug;

use proptest::{
    strategy::Strategy,
    test_runner::{Config, RngSeed, TestCaseError, TestError, TestRunner},
};

/// How long a smaller value is looked for that fails too.
const SHRINK_MILLISECONDS: u32 = 20_000;

/// Checks that a property holds for so many values that chance gives.
///
/// The chance has a seed, `PROPTEST_RNG_SEED` where that is set. A failure prints
/// it with the smallest value found; nothing is kept on disk.
///
/// # Panics
///
/// Where the property does not hold.
pub fn always<S: Strategy<Value: Debug>>(
    cases: u32,
    values: S,
    property: impl Fn(S::Value) -> Result<(), TestCaseError>,
) {
    let mut config = Config {
        cases,
        failure_persistence: None,
        max_shrink_time: SHRINK_MILLISECONDS,
        ..Config::default()
    };
    let seed = match config.rng_seed {
        RngSeed::Fixed(seed) => seed,
        RngSeed::Random => rand::random(),
    };
    config.rng_seed = RngSeed::Fixed(seed);
    match TestRunner::new(config).run(&values, property) {
        Ok(()) => {}
        Err(TestError::Fail(why, value)) => {
            panic!("{why}\n{value:#?}\nreplay it with PROPTEST_RNG_SEED={seed}")
        }
        Err(TestError::Abort(why)) => panic!("given up: {why}"),
    }
}
