//! Points the program at the prototype's source, `vx.rs` in the folder that `RINGMILL_YARDSTICK_SRC` names, and makes
//! a second form of it that looks for no fields, for the prototype itself always does.
use std::{env, fs, path::Path};

/// What of the prototype's walk takes down the fields of an event: from here, up to there, what stands there instead.
const CUTS: [[&str; 3]; 2] = [
    ["let ks=*t+1;", "let vt=", ""],
    [" let kl=ke-ks;", "c=*buf.add(*t as usize);\n    if c==b','", "t=value(buf,vt,1)?; ev.have=7;\n    "],
];

/// The text without what `CUTS` say.
fn bare(mut text: String) -> String {
    for [from, to, instead] in CUTS {
        let begin = text.find(from).expect("vx.rs looks for fields where it did");
        let end = begin + text[begin..].find(to).expect("vx.rs goes on behind them as it did");
        text.replace_range(begin..end, instead);
    }
    text
}

fn main() {
    println!("cargo::rerun-if-env-changed=RINGMILL_YARDSTICK_SRC");
    let folder = env::var("RINGMILL_YARDSTICK_SRC").expect("RINGMILL_YARDSTICK_SRC names the folder of vx.rs");
    let source = Path::new(&folder).join("vx.rs").canonicalize().expect("vx.rs is in that folder");
    println!("cargo::rerun-if-changed={}", source.display());
    let text = fs::read_to_string(&source).expect("vx.rs is text");
    let out = env::var("OUT_DIR").expect("cargo says where");
    fs::write(Path::new(&out).join("bare.rs"), bare(text)).expect("the folder can be written");
    let module = |name: &str, path: &Path| format!("#[path = {path:?}]\nmod {name};\n");
    let modules = [module("fields", &source), module("bare", &Path::new(&out).join("bare.rs"))].concat();
    fs::write(Path::new(&out).join("prototype.rs"), modules).expect("the folder can be written");
}
