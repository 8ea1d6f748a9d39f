//! Rebuilds the server when files that are compiled into it change: migrations and the bundled demo model.

fn main() {
    println!("cargo::rerun-if-changed=migrations");
    println!("cargo::rerun-if-changed=models/demo-sdxl");
}
