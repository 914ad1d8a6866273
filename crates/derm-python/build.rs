//! Link arguments of the extension module.
fn main() {
    println!("cargo::rustc-link-arg-cdylib=-Wl,--icf=all");
}
