//! Generates the messages of `onnx.proto`; the parser is Rust, no `protoc` is needed.

fn main() {
    println!("cargo::rerun-if-changed=onnx.proto");
    protobuf_codegen::Codegen::new()
        .pure()
        .include(".")
        .input("onnx.proto")
        .cargo_out_dir("messages")
        .run_from_script();
}
