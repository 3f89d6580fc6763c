//! The benchmark: both programs under load, and beside them a server as it is commonly
//! written.
//!
//! `BENCH_ONLY=chat,join` runs some parts, `BENCH_RUNS=1` fewer runs, `BENCH_SIDES=ours`
//! one side; a whole run also writes docs/performance.md and its chart. Both sides run
//! alternately, each run with servers and a Redis of its own, and what is told is the
//! median of the runs.

#![expect(clippy::print_stdout, reason = "what it measures is what it is for")]
#![expect(clippy::unwrap_used, reason = "in a bench a panic is the report")]
#![expect(
    clippy::cast_possible_truncation,
    reason = "counts and times of a bench are far from any bound"
)]

mod chat;
mod client;
mod content;
mod document;
mod machine;
mod pace;
mod report;
mod rooms;
mod servers;
mod service;

use std::{rc::Rc, time::Duration};

use chat::{Load, Outcome, Shape};
use report::{Report, Target};
use rooms::Change;
use servers::{BOTH, Kind, Servers};
use tokio::task::LocalSet;

/// How long each load is kept up while it is measured.
const WINDOW: Duration = Duration::from_secs(4);

/// The parts, in the order in which they run.
const PARTS: [&str; 9] = [
    "chat",
    "crowd",
    "join",
    "visit",
    "board",
    "idle",
    "service",
    "growth",
    "footprint",
];

/// What is to be run.
struct Plan {
    only: Option<Vec<String>>,
    runs: usize,
    sides: Vec<Kind>,
}

impl Plan {
    #[expect(
        clippy::disallowed_methods,
        reason = "a bench has no settings but these, read once"
    )]
    fn read() -> Self {
        let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let only: Option<Vec<String>> = variable("BENCH_ONLY").map(|parts| {
            parts
                .split(',')
                .map(|part| part.trim().to_owned())
                .collect()
        });
        Self {
            only,
            runs: variable("BENCH_RUNS").map_or(3, |runs| runs.parse().unwrap()),
            sides: match variable("BENCH_SIDES").as_deref() {
                Some("ours") => vec![Kind::Ours],
                Some("baseline") => vec![Kind::Baseline],
                _ => BOTH.to_vec(),
            },
        }
    }

    fn has(&self, part: &str) -> bool {
        self.only
            .as_ref()
            .is_none_or(|only| only.iter().any(|name| name == part))
    }
}

fn main() {
    let plan = Plan::read();
    let mut report = Report::default();
    let before = machine::speed();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    LocalSet::new().block_on(&runtime, async {
        for part in PARTS.into_iter().filter(|part| plan.has(part)) {
            println!("== {part}");
            match part {
                "chat" => chat(&plan, &mut report).await,
                "crowd" => crowd(&plan, &mut report).await,
                "join" => join(&plan, &mut report).await,
                "visit" => visit(&plan, &mut report).await,
                "board" => board(&plan, &mut report).await,
                "idle" => idle(&plan, &mut report).await,
                "service" => service(&plan, &mut report).await,
                "growth" => growth(&plan, &mut report).await,
                "footprint" => footprint(&plan, &mut report).await,
                _ => unreachable!("every part is run"),
            }
        }
    });
    let after = machine::speed();

    let table = report.table();
    let speeds = report::speeds(before, after);
    println!("\n{table}\n{speeds}");
    if plan.only.is_none() && plan.sides.len() == 2 {
        document::replace("load", &format!("{table}\n{speeds}"));
        std::fs::write(document::path("performance.svg"), report.svg()).unwrap();
    }
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Both sides in turn, as often as there are runs.
fn turns(plan: &Plan) -> impl Iterator<Item = Kind> + '_ {
    (0..plan.runs).flat_map(|_| plan.sides.iter().copied())
}

fn tell(kind: Kind, what: &str, outcome: &Outcome) {
    println!(
        "{kind:?} {what}: {:.0} sent/s, {:.0} delivered/s, p50 {:.2} p95 {:.2} p99 {:.2} ms, \
         {} lost, {} doubled, {:.0} µs/message {:?}, generator {:.0} %",
        outcome.sent_per_second,
        outcome.delivered_per_second,
        outcome.delivery.at(50.0),
        outcome.delivery.at(95.0),
        outcome.delivery.at(99.0),
        outcome.lost,
        outcome.doubled,
        micros(outcome.cpu_per_message),
        outcome.cpu_of_each,
        outcome.generator * 100.0,
    );
}

async fn chat(plan: &Plan, report: &mut Report) {
    let shape = Shape {
        rooms: 20,
        members: 5,
    };
    for kind in turns(plan) {
        let servers = Servers::start(kind).await;
        let work = "chat, 20 rooms × 5, closed loop";
        let closed = chat::run(&servers, shape, Load::Closed, WINDOW).await;
        tell(kind, work, &closed);
        let mut add = |measure: &str, target, value| report.add(kind, work, measure, target, value);
        add("sent/s", Target::AtLeastTimes(2.0), closed.sent_per_second);
        add(
            "CPU of all servers, µs per message",
            Target::AtMostTimes(0.4),
            micros(closed.cpu_per_message),
        );
        for (name, cpu) in &closed.cpu_of_each {
            let whose = match *name {
                "persistence-service" => "… of the service",
                "redis-server" => "… of Redis",
                _ => "… of the gateway, or node",
            };
            add(whose, Target::None, micros(*cpu));
        }
        add("delivered/s", Target::None, closed.delivered_per_second);
        add("delivery p50, ms", Target::None, closed.delivery.at(50.0));
        add("delivery p99, ms", Target::None, closed.delivery.at(99.0));
        add(
            "the generator's part of both cores, %",
            Target::None,
            closed.generator * 100.0,
        );
        add("lost", Target::AtMost(0.0), closed.lost as f64);
        add("doubled", Target::AtMost(0.0), closed.doubled as f64);

        let work = "chat, 20 rooms × 5, 20/s a room";
        let open = chat::run(&servers, shape, Load::Open(400.0), WINDOW).await;
        tell(kind, work, &open);
        let mut add = |measure: &str, target, value| report.add(kind, work, measure, target, value);
        add(
            "delivery p50, ms",
            Target::AtMost(1.0),
            open.delivery.at(50.0),
        );
        add("delivery p95, ms", Target::None, open.delivery.at(95.0));
        add(
            "delivery p99, ms",
            Target::AtMost(3.0),
            open.delivery.at(99.0),
        );
        add(
            "CPU of all servers, µs per message",
            Target::None,
            micros(open.cpu_per_message),
        );
        add("lost", Target::AtMost(0.0), open.lost as f64);
        add("doubled", Target::AtMost(0.0), open.doubled as f64);
    }
    report.chart(
        "chat, 20 rooms × 5, closed loop",
        "CPU of all servers, µs per message",
    );
    report.chart("chat, 20 rooms × 5, 20/s a room", "delivery p50, ms");
    report.chart("chat, 20 rooms × 5, 20/s a room", "delivery p99, ms");
}

async fn crowd(plan: &Plan, report: &mut Report) {
    let shape = Shape {
        rooms: 1,
        members: 1_000,
    };
    for (rate, latency, cpu) in [
        (50.0, Target::AtMost(60.0), 12.0),
        (300.0, Target::None, 6.0),
    ] {
        let work = format!("1 room × 1,000, {rate}/s");
        for kind in turns(plan) {
            let servers = Servers::start(kind).await;
            let outcome = chat::run(&servers, shape, Load::Open(rate), WINDOW).await;
            tell(kind, &work, &outcome);
            let mut add =
                |measure: &str, target, value| report.add(kind, &work, measure, target, value);
            add("delivered/s", Target::None, outcome.delivered_per_second);
            add("delivery p50, ms", Target::None, outcome.delivery.at(50.0));
            add("delivery p99, ms", latency, outcome.delivery.at(99.0));
            let gateway = outcome
                .cpu_per_delivery
                .iter()
                .find(|(name, _)| *name == "edge-gateway" || *name == "node");
            add(
                "CPU of the gateway, µs per delivery",
                Target::AtMost(cpu),
                micros(gateway.unwrap().1),
            );
            add("lost", Target::AtMost(0.0), outcome.lost as f64);
            add("doubled", Target::AtMost(0.0), outcome.doubled as f64);
        }
        report.chart(&work, "CPU of the gateway, µs per delivery");
    }
}

async fn join(plan: &Plan, report: &mut Report) {
    for kind in turns(plan) {
        let servers = Servers::start(kind).await;
        let filled = rooms::filled(&servers, 200).await;
        let work = "join, 50 messages and a 10 KB board, 20/s";
        let joins = rooms::joins(&servers, &filled[..20], 20.0, 100).await;
        let mut add = |work: &str, measure: &str, target, value| {
            println!("{kind:?} {work}: {measure} {value:.2}");
            report.add(kind, work, measure, target, value);
        };
        add(work, "p50, ms", Target::AtMost(2.5), joins.latency.at(50.0));
        add(work, "p99, ms", Target::None, joins.latency.at(99.0));
        add(
            work,
            "CPU of all servers, ms per join",
            Target::None,
            millis(joins.cpu_per_join),
        );
        let work = "1,000 joins at once";
        let storm = rooms::storm(&servers, &filled, 1_000, false).await;
        add(
            work,
            "all are in after, ms",
            Target::None,
            millis(storm.took),
        );
        add(
            work,
            "CPU of all servers, ms per join",
            Target::AtMost(0.5),
            millis(storm.cpu_per_join),
        );
        add(
            work,
            "refused for now",
            Target::None,
            f64::from(storm.refused),
        );
        let work = "1,000 connect and join at once";
        let storm = rooms::storm(&servers, &filled, 1_000, true).await;
        add(
            work,
            "all are in after, ms",
            Target::None,
            millis(storm.took),
        );
        add(
            work,
            "CPU of all servers, ms per join",
            Target::None,
            millis(storm.cpu_per_join),
        );
        add(
            work,
            "refused for now",
            Target::None,
            f64::from(storm.refused),
        );
    }
    report.chart("join, 50 messages and a 10 KB board, 20/s", "p50, ms");
    report.chart("1,000 joins at once", "CPU of all servers, ms per join");
}

async fn visit(plan: &Plan, report: &mut Report) {
    for kind in turns(plan) {
        for others in [500, 50_000] {
            let servers = Servers::start(kind).await;
            if kind == Kind::Baseline && others > 500 {
                continue;
            }
            create_many(&servers, kind, others).await;
            let cpu = rooms::visits(&servers, 500).await;
            println!("{kind:?} visit beside {others}: {cpu:?}");
            report.add(
                kind,
                &format!("visit (join and leave) beside {others} other rooms"),
                "CPU of all servers, ms",
                Target::AtMost(1.0),
                millis(cpu),
            );
        }
    }
    report.chart(
        "visit (join and leave) beside 500 other rooms",
        "CPU of all servers, ms",
    );
}

async fn create_many(servers: &Servers, kind: Kind, count: usize) {
    match kind {
        Kind::Ours => {
            service::create_rooms(&servers.grpc().await, count).await;
        }
        Kind::Baseline => {
            for _ in 0..count {
                servers.create_room(10);
            }
        }
    }
}

async fn board(plan: &Plan, report: &mut Report) {
    let small = (100, 1_024);
    let large = (5_000, 1_024);
    for kind in turns(plan) {
        let mut one = async |work: &str, size, change, rate: f64, count: usize, target| {
            let servers = Servers::start(kind).await;
            let strokes = rooms::strokes(&servers, size, change, rate, count).await;
            println!(
                "{kind:?} {work} ({} bytes): p50 {:.2} p99 {:.2} ms, {:?} a change",
                strokes.board_bytes,
                strokes.latency.at(50.0),
                strokes.latency.at(99.0),
                strokes.cpu_per_change
            );
            report.add(kind, work, "p50, ms", target, strokes.latency.at(50.0));
            report.add(
                kind,
                work,
                "p99, ms",
                Target::None,
                strokes.latency.at(99.0),
            );
            let cpu = match target {
                // What is held to the baseline is so in its CPU time too.
                Target::AtMostTimes(_) => target,
                Target::AtMost(_) | Target::AtLeastTimes(_) | Target::None => Target::None,
            };
            report.add(
                kind,
                work,
                "CPU of all servers, ms per change",
                cpu,
                millis(strokes.cpu_per_change),
            );
        };
        // Who writes servers of the baseline's kind sends the scene; there is nothing less.
        let change = match kind {
            Kind::Ours => Change::Delta,
            Kind::Baseline => Change::Scene,
        };
        let (work, target) = (
            "one element changed on a 100 KB board, 20/s",
            Target::AtMost(1.5),
        );
        one(work, small, change, 20.0, 100, target).await;
        if kind == Kind::Ours {
            let work = "one element changed on a 5 MB board, 20/s";
            one(work, large, Change::Delta, 20.0, 100, target).await;
        }
        let work = "whole scenes of 100 KB, 5/s";
        one(
            work,
            small,
            Change::Scene,
            5.0,
            25,
            Target::AtMostTimes(1.0),
        )
        .await;
        let servers = Servers::start(kind).await;
        let work = "whole scenes of 10 KB to two viewers, closed loop";
        let scenes = rooms::scenes(&servers, (40, 250), WINDOW).await;
        let mut add = |measure: &str, target, value| {
            println!("{kind:?} {work}: {measure} {value:.2}");
            report.add(kind, work, measure, target, value);
        };
        let (p50, p99) = (scenes.latency.at(50.0), scenes.latency.at(99.0));
        add("p50, ms", Target::AtMostTimes(1.5), p50);
        add("p99, ms", Target::None, p99);
        add("updates/s", Target::AtLeastTimes(0.8), scenes.per_second);
        add(
            "CPU of all servers, ms per change",
            Target::None,
            millis(scenes.cpu_per_change),
        );
    }
    report.chart("one element changed on a 100 KB board, 20/s", "p50, ms");
}

async fn idle(plan: &Plan, report: &mut Report) {
    // Memory does not depend on the machine's mood: one run.
    for kind in &plan.sides {
        let servers = Servers::start(*kind).await;
        let work = "1,000 idle members in 200 rooms";
        let idle = rooms::idle(&servers, 1_000, 200).await;
        let mut add = |measure: &str, target, value| {
            println!("{kind:?} {work}: {measure} {value:.1}");
            report.add(*kind, work, measure, target, value);
        };
        add(
            "resident memory without Redis, MB",
            Target::AtMost(45.0),
            idle.resident as f64 / 1e6,
        );
        add(
            "each further one, KB",
            Target::AtMost(20.0),
            idle.each_further as f64 / 1e3,
        );
    }
    report.chart(
        "1,000 idle members in 200 rooms",
        "resident memory without Redis, MB",
    );
}

async fn service(plan: &Plan, report: &mut Report) {
    if !plan.sides.contains(&Kind::Ours) {
        return;
    }
    let alone = "gRPC SaveMessage, 256 in flight (beside it: the script alone)";
    let together = "the same on one Pipeline (beside it: the script alone)";
    for _ in 0..plan.runs {
        let service = service::Service::start().await;
        let rooms = service.rooms(100).await;
        let calls = service::save_messages(&service, &rooms, WINDOW).await;
        let pipeline = service::pipeline_messages(&service, &rooms, WINDOW).await;
        let script = Rc::new(service::Script::load(&service.redis).await);
        let limit = service::run_script(script, &service.redis, &rooms, WINDOW).await;
        for (work, kind, side) in [
            (alone, Kind::Ours, &calls),
            (alone, Kind::Baseline, &limit),
            (together, Kind::Ours, &pipeline),
            (together, Kind::Baseline, &limit),
        ] {
            println!(
                "{kind:?} {work}: {:.0}/s, service {:?}, Redis {:?}, generator {:?}",
                side.per_second, side.cpu_of_service, side.cpu_of_redis, side.cpu_of_generator
            );
            let mut add =
                |measure: &str, target, value| report.add(kind, work, measure, target, value);
            add("per second", Target::AtLeastTimes(0.7), side.per_second);
            if kind == Kind::Ours {
                add(
                    "CPU of the service, µs",
                    Target::None,
                    micros(side.cpu_of_service),
                );
            }
            add("CPU of Redis, µs", Target::None, micros(side.cpu_of_redis));
            add(
                "CPU of the generator, µs",
                Target::None,
                micros(side.cpu_of_generator),
            );
        }
    }
}

async fn growth(plan: &Plan, report: &mut Report) {
    if !plan.sides.contains(&Kind::Ours) {
        return;
    }
    let grown = service::growth(100_000).await;
    let [small, large] = &grown[..] else {
        unreachable!("two sizes were asked for");
    };
    let work = format!(
        "SaveMessage beside {} rooms (beside it: {})",
        large.rooms, small.rooms
    );
    for (kind, growth) in [(Kind::Ours, large), (Kind::Baseline, small)] {
        println!(
            "{} rooms: {} µs, {:?} instructions",
            growth.rooms, growth.usec_per_call, growth.instructions
        );
        report.add(
            kind,
            &work,
            "Redis's usec_per_call",
            Target::AtMostTimes(1.1),
            growth.usec_per_call,
        );
        if let Some(instructions) = growth.instructions {
            report.add(
                kind,
                &work,
                "instructions of the service per call",
                Target::AtMostTimes(1.1),
                instructions,
            );
        }
    }
}

async fn footprint(plan: &Plan, report: &mut Report) {
    if !plan.sides.contains(&Kind::Ours) {
        return;
    }
    let work = "a room of 100 messages of 300 B and a 10 KB board, in Redis";
    let footprint = service::footprint(10_000).await;
    let mut add = |measure: &str, target, value: u64| {
        println!("{work}: {measure} {value}");
        report.add(Kind::Ours, work, measure, target, value as f64);
    };
    let most = Target::AtMost(footprint.content as f64 * 1.2);
    add("its content, bytes", Target::None, footprint.content);
    add("MEMORY USAGE of all its keys, bytes", most, footprint.keys);
    add(
        "used_memory, bytes for each of 10,000",
        most,
        footprint.each_of_many,
    );
}
