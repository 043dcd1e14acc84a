//! The manager's image.

fn main() {
    images::manager()
}
