//! The links of the guide work in the repository, where they lead from file to file, and in the documentation,
//! where `src/guide.rs` leads them elsewhere.

use std::path::Path;

/// Each page, and the file of the module that shows it.
const PAGES: [(&str, &str); 2] =
    [("docs/guide.md", "src/guide.rs"), ("docs/feed.md", "src/guide/feed.rs")];

#[test]
fn each_link_to_a_file_is_led_elsewhere_in_the_documentation() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |file: &str| std::fs::read_to_string(root.join(file)).expect("a readable file");
    for (page, module) in PAGES {
        let (text, module_text) = (read(page), read(module));
        // Without the code blocks.
        let text: String = text.split("\n```").step_by(2).collect();
        let inline: Vec<_> = text.match_indices("](").map(|(at, _)| &text[at + 2..]).collect();
        for target in inline.iter().filter_map(|rest| rest.split(')').next()) {
            let is_fixed = target.starts_with('#') || target.starts_with("https://");
            assert!(is_fixed, "{page}: write the link to {target} as [text][{target}]");
        }
        let defined: Vec<_> = text.lines().filter_map(definition).collect();
        let module_lines = module_text.lines().filter_map(|line| {
            line.strip_prefix("#![doc = \"").and_then(|line| line.strip_suffix("\"]"))
        });
        let redefined: Vec<_> = module_lines.filter_map(definition).collect();
        assert!(!defined.is_empty(), "{page}: no definition was found");
        for (label, target) in &defined {
            let file = target.split('#').next().unwrap_or_default();
            assert!(root.join("docs").join(file).is_file(), "{page}: there is no {target}");
            assert!(text.contains(&format!("][{label}]")), "{page}: no link to {label}");
            assert!(redefined.iter().any(|(other, _)| other == label), "{module}: no {label}");
        }
        assert_eq!(redefined.len(), defined.len(), "{module}");
        let used = text.match_indices("][").filter_map(|(at, _)| text[at + 2..].split(']').next());
        for label in used {
            assert!(
                defined.iter().any(|(other, _)| *other == label),
                "{page}: [{label}] is not defined"
            );
        }
    }
}

/// The label and the target of a link's definition.
fn definition(line: &str) -> Option<(&str, &str)> {
    line.strip_prefix('[')?.split_once("]: ")
}
