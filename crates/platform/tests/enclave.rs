//! Real processes: this test's own executable is the image that the launcher measures and starts.
//!
//! It has a `main` of its own, because an enclave image must be single-threaded and decides by its
//! name what it is: the probe manager, a probe worker, an attacker of another user, or the tests.
#![allow(unsafe_code)]

#[path = "enclave/attacks.rs"]
mod attacks;
#[path = "enclave/probe.rs"]
mod probe;
#[path = "enclave/rig.rs"]
mod rig;

fn main() {
    let mut arguments = std::env::args();
    let name = arguments.next().unwrap_or_default();
    match name.as_str() {
        "coco-manager" => probe::manager(),
        "coco-worker-probe" => probe::worker(),
        "coco-worker-window" => probe::window(),
        _ if std::env::var_os("COCO_MEASURE").is_some() => rig::measure(),
        "attacker" => attacks::attacker(arguments),
        _ => run_tests(arguments.next().as_deref()),
    }
}

fn run_tests(filter: Option<&str>) {
    let tests: &[(&str, fn())] = &[
        (
            "messages_go_through_manager_and_worker",
            rig::messages_go_through_manager_and_worker,
        ),
        (
            "evidence_is_appraised_and_bound_to_the_image",
            rig::evidence_is_appraised_and_bound_to_the_image,
        ),
        (
            "a_worker_that_ends_is_reported_and_started_again",
            rig::a_worker_that_ends_is_reported_and_started_again,
        ),
        (
            "threads_work_behind_the_same_walls",
            rig::threads_work_behind_the_same_walls,
        ),
        (
            "a_panic_ends_the_node_and_tells_its_place",
            rig::a_panic_ends_the_node_and_tells_its_place,
        ),
        (
            "no_cycle_of_full_sockets_stands_still",
            rig::no_cycle_of_full_sockets_stands_still,
        ),
        (
            "what_an_enclave_must_not_do_kills_it",
            attacks::what_an_enclave_must_not_do_kills_it,
        ),
        (
            "the_hosts_user_cannot_look_inside",
            attacks::the_hosts_user_cannot_look_inside,
        ),
        (
            "an_ordinary_user_gets_a_sandbox_that_says_shared_user",
            attacks::an_ordinary_user_gets_a_sandbox_that_says_shared_user,
        ),
        (
            "the_platform_key_must_be_private",
            rig::the_platform_key_must_be_private,
        ),
    ];
    let wanted =
        |name: &str| filter.is_none_or(|filter| filter.starts_with('-') || name.contains(filter));
    for (name, test) in tests.iter().filter(|(name, _)| wanted(name)) {
        test();
        println!("test {name} ... ok");
    }
}
