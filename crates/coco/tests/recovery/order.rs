//! `coco recover order`.

use std::path::PathBuf;

use types::Millis;

use crate::keyed::Keyed;
use crate::text;

const ORDER: &[&str] = &["recover", "order"];

fn identity(keyed: &Keyed, place: usize) -> PathBuf {
    let owner = &keyed.writer.owners[place];
    let file = keyed.path(&format!("{}.pem", owner.name));
    std::fs::write(&file, owner.identity().to_pem()).expect("a file");
    file
}

fn place(keyed: &Keyed, place: usize) -> String {
    let owner = &keyed.writer.owners[place];
    format!("{}@{}", owner.name, owner.address())
}

fn now() -> Millis {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Millis(u64::try_from(since.expect("after 1970").as_millis()).expect("not that late"))
}

#[test]
fn two_of_three_actors_order_that_two_nodes_go_on() {
    let keyed = Keyed::new();
    let [ada, bob] = [0, 1].map(|at| identity(&keyed, at));
    let (first, second) = (keyed.path("one.order"), keyed.path("two.order"));
    let survivors = [place(&keyed, 0), place(&keyed, 2)];
    let rest = [
        "--survivor",
        &survivors[0],
        &survivors[1],
        "--sign-with",
        text(&ada),
        "--out",
        text(&first),
    ];
    let told = keyed.done(ORDER, &rest);
    assert!(told.contains("1 more actors must sign the same"), "{told}");
    // The first node is the only voter of this ledger.
    assert!(told.contains("given up      nobody"), "{told}");
    let last = keyed.writer.last();
    assert!(
        told.contains(&format!("entries 1-{}: a signed root", last.0 - 1)),
        "{told}"
    );
    assert!(
        told.contains("if 1 of the survivors' hosts or more present an older disk"),
        "{told}"
    );

    let rest = [
        "--with",
        text(&first),
        "--sign-with",
        text(&bob),
        "--out",
        text(&second),
    ];
    let told = keyed.done(ORDER, &rest);
    assert!(told.contains("as many as open the keys"), "{told}");
    let orders = std::fs::read_to_string(&second).expect("written");
    let orders = client::restart_order_from_pem(&orders).expect("an order");
    let ordered = keyed.writer.state.restart_order(&orders, now());
    let ordered = ordered.expect("two of three actors");
    assert_eq!(ordered.by, ["ada", "bob"]);
    assert_eq!(ordered.survivors.len(), 2);
    assert_eq!(ordered.reach.1.0, last.0 - 1);
    let few = keyed.writer.state.restart_order(&orders[..1], now());
    assert!(
        few.expect_err("one of two")
            .to_string()
            .contains("1 more actors")
    );
}

#[test]
fn what_is_no_order_is_not_signed() {
    let keyed = Keyed::new();
    let ada = identity(&keyed, 0);
    let (first, out) = (keyed.path("one.order"), keyed.path("out.order"));
    let ada_at = place(&keyed, 0);
    let rest = [
        "--survivor",
        &ada_at,
        "--sign-with",
        text(&ada),
        "--out",
        text(&first),
    ];
    keyed.done(ORDER, &rest);
    let again = [
        "--with",
        text(&first),
        "--sign-with",
        text(&ada),
        "--out",
        text(&out),
    ];
    let (code, _, error) = keyed.run(ORDER, &again);
    assert!(code == 3 && error.contains("signed it twice"), "{error}");
    let elsewhere = [
        "--survivor",
        "ada@nowhere:1",
        "--sign-with",
        text(&ada),
        "--out",
        text(&out),
    ];
    let (code, _, error) = keyed.run(ORDER, &elsewhere);
    assert!(code == 3 && error.contains("does not list"), "{error}");
    let mine = [
        &elsewhere[..2],
        &[
            "--actor",
            "bob",
            "--sign-with",
            text(&ada),
            "--out",
            text(&out),
        ],
    ]
    .concat();
    let (code, _, error) = keyed.run(ORDER, &mine);
    assert!(code == 3 && error.contains("signed it"), "{error}");
    assert!(!out.exists());
}
