//! Runs a piece of the hot path so that its instructions can be counted.
//!
//! Times on a shared machine drift by tens of per cent; the number of instructions for a fixed input does
//! not. `.ci/run counts` runs each piece under `valgrind --tool=callgrind`, which counts only inside
//! [`counted`], and compares with `.ci/counts.json`.

mod pieces;

use pieces::{PIECES, Piece};

/// What is done in a piece's first runs differs: tables are made, buffers grow.
const WARM_UP: u32 = 3;

/// Runs that are counted.
const COUNTED: u32 = 5;

fn main() {
    let Some(wanted) = std::env::args().nth(1) else {
        // One line for each, for the script that counts them.
        for (name, transactions, _) in PIECES {
            println!("{name} {}", transactions * COUNTED);
        }
        return;
    };
    let Some((_, _, make)) = PIECES.iter().find(|(name, ..)| *name == wanted) else {
        eprintln!("there is no piece {wanted}");
        std::process::exit(2);
    };
    let mut piece = make();
    for _ in 0..WARM_UP {
        piece.prepare();
        piece.run();
    }
    for _ in 0..COUNTED {
        piece.prepare();
        counted(&mut *piece);
    }
}

/// What callgrind looks at; it finds it by its name.
#[inline(never)]
fn counted(piece: &mut dyn Piece) {
    std::hint::black_box(piece).run();
}
