use sim::{Options, run};
#[test]
fn scratch() {
    let n = |k: &str, d: u64| {
        std::env::var(k)
            .ok()
            .and_then(|v| v.parse().ok())
            .unwrap_or(d)
    };
    for seed in n("FIRST", 100)..n("FIRST", 100) + n("RUNS", 20) {
        let t = std::time::Instant::now();
        match run(
            seed,
            &Options {
                trace: n("TRACE", 0) == 1,
                ..Options::default()
            },
        ) {
            Ok(r) => {
                println!("seed {seed}: {:?} {} events", t.elapsed(), r.events);
                if n("TRACE", 0) == 1 {
                    println!("{}", r.trace.join("\n"));
                }
            }
            Err(f) => {
                println!("seed {seed}: {:?} FAILED {f}", t.elapsed());
                if n("TRACE", 0) == 1 {
                    println!("{}", f.trace.join("\n"));
                }
            }
        }
    }
}
