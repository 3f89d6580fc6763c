//! What the machine did: CPU time and memory of processes, and how fast it is by itself.

use std::{
    fs,
    hint::black_box,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

/// The kernel counts CPU time in hundredths of a second.
const TICK: Duration = Duration::from_millis(10);

/// The CPU time that a process has taken, in user and kernel mode, all its threads.
pub(crate) fn cpu_time(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // The name in parentheses may hold anything; the rest is numbers.
    let (_, rest) = stat.rsplit_once(')').unwrap();
    let ticks: u32 = rest
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(|field| field.parse::<u32>().unwrap())
        .sum();
    TICK * ticks
}

/// The memory of a process that is in RAM, in bytes.
pub(crate) fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
    kilobytes * 1_024
}

/// How fast the machine is, whatever runs on it.
#[derive(Clone, Copy)]
pub(crate) struct Speed {
    /// Arithmetic on one core, in millions of steps per second.
    pub(crate) one_core: f64,
    /// The same on two cores at once, both together.
    pub(crate) two_cores: f64,
    /// One byte there and back over loopback, in round trips per second.
    pub(crate) round_trips: f64,
}

/// Measures the machine; takes about a second.
pub(crate) fn speed() -> Speed {
    let one_core = arithmetic();
    let other = thread::spawn(arithmetic);
    let two_cores = arithmetic() + other.join().unwrap();
    Speed {
        one_core,
        two_cores,
        round_trips: round_trips(),
    }
}

fn arithmetic() -> f64 {
    const STEPS: u64 = 100_000_000;
    let begun = Instant::now();
    let mut state = black_box(88_172_645_463_325_252_u64);
    for _ in 0..STEPS {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
    }
    black_box(state);
    STEPS as f64 / begun.elapsed().as_secs_f64() / 1e6
}

fn round_trips() -> f64 {
    const TRIPS: u32 = 10_000;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let echo = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_nodelay(true).unwrap();
        let mut byte = [0];
        while stream.read_exact(&mut byte).is_ok() {
            stream.write_all(&byte).unwrap();
        }
    });
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    let mut byte = [0];
    let begun = Instant::now();
    for _ in 0..TRIPS {
        stream.write_all(&byte).unwrap();
        stream.read_exact(&mut byte).unwrap();
    }
    let elapsed = begun.elapsed();
    drop(stream);
    echo.join().unwrap();
    f64::from(TRIPS) / elapsed.as_secs_f64()
}
