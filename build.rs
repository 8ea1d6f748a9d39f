//! Rebuilds the server when files that are compiled into it change: migrations and the bundled demo models.

fn main() {
    println!("cargo::rerun-if-changed=migrations");
    println!("cargo::rerun-if-changed=models/demo-sdxl");
    println!("cargo::rerun-if-changed=models/demo-svd");
}
