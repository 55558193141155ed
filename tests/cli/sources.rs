//! A policy's rules about its source, carried out by `lifeboat run`.

use crate::run::Bench;

#[test]
fn a_policy_leaves_out_what_its_source_section_says() {
    let bench = Bench::new();
    let source = bench.path("src");
    for (name, len) in
        [("docs/a.pdf", 10), ("docs/a.tmp", 10), ("docs/big.pdf", 9000), ("no/.skip", 1), ("no/b.pdf", 1)]
    {
        let path = source.join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        std::fs::write(path, vec![7; len]).expect("written");
    }
    let policies = bench.path("config/policies");
    std::fs::create_dir_all(&policies).expect("made");
    let policy = format!(
        "[source]\npaths = [{source:?}]\ninclude = [\"*.pdf\"]\nexclude_larger_than = \"4 KiB\"\n\
         exclude_if_present = [\".skip\"]\nwith_caches = true\nsnapshot = \"auto\"\nexclude = [\"*.typo\"]\n\
         [targets.disk]\nurl = \"file://{}\"\n",
        bench.path("repo").display()
    );
    std::fs::write(policies.join("docs.toml"), policy).expect("written");
    let config = bench.path("config");
    let ran =
        bench.run(["--json", "--config", config.to_str().expect("plain"), "run", "docs"]).exits(0).json();
    let outcome = &ran["outcome"];
    assert_eq!(outcome["stats"]["files"], 1, "{ran:#}");
    let out = &outcome["left_out"];
    assert_eq!(
        (&out["larger"], &out["by_pattern"], &out["folders"]),
        (&1.into(), &2.into(), &1.into()),
        "{out:#}"
    );
    assert_eq!(out["idle_patterns"][0]["pattern"], "*.typo");
    assert_eq!(outcome["roots"][0]["path"], source.to_str().expect("plain"));
}
