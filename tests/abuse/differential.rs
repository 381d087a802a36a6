//! T040: our RequestInfo against the API server's own, in Go: the same answer, or we deny.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use http::Method;
use roadstead::k8s::{ApiTarget, RequestInfo};
use serde::Deserialize;

use crate::rows::print;

/// How many requests are compared.
const REQUESTS: usize = 120_000;

#[derive(Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "camelCase")]
struct Theirs {
    #[serde(default)]
    error: String,
    is_resource: bool,
    path: String,
    verb: String,
    group: String,
    version: String,
    namespace: String,
    resource: String,
    subresource: String,
    name: String,
}

/// What ours says of a line; `None` when it denies.
fn ours(line: &str) -> Option<Theirs> {
    let (method, target) = line.split_once(' ')?;
    let method = Method::from_bytes(method.as_bytes()).ok()?;
    let info = RequestInfo::new(&method, &ApiTarget::parse(target).ok()?).ok()?;
    let mut answer = Theirs {
        is_resource: info.resource().is_some(),
        path: info.path().to_owned(),
        verb: info.verb().as_str().to_owned(),
        ..Theirs::default()
    };
    if let Some(resource) = info.resource() {
        answer.group = resource.group.clone();
        answer.version = resource.version.clone();
        answer.namespace = resource.namespace.clone().unwrap_or_default();
        answer.resource = resource.resource.clone();
        answer.subresource = resource.subresource.clone().unwrap_or_default();
        answer.name = resource.name.clone().unwrap_or_default();
    }
    Some(answer)
}

/// Whether what we say grants no more than what they do.
fn agrees(ours: &Theirs, theirs: &Theirs) -> bool {
    // Doubled `watch`: the API server takes the first, we take the union (T052), so a list may be a watch to us.
    let stricter_verb = ours.verb == "watch" && theirs.verb == "list";
    // Where options do not decode the name is unknown to us: no grant is about names.
    let same_name =
        ours.name == theirs.name || (ours.name.is_empty() && matches!(theirs.verb.as_str(), "list" | "watch"));
    theirs.error.is_empty()
        && ours.is_resource == theirs.is_resource
        && ours.path == theirs.path
        && (ours.verb == theirs.verb || stricter_verb)
        && (&ours.group, &ours.version) == (&theirs.group, &theirs.version)
        && ours.namespace == theirs.namespace
        && (&ours.resource, &ours.subresource) == (&theirs.resource, &theirs.subresource)
        && same_name
}

/// xorshift64*: the same requests in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % sides
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.roll(from.len())]
    }
}

const METHODS: &[&str] = &["GET", "GET", "GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "LIST", "get"];
const ROOTS: &[&str] = &[
    "/api/v1",
    "/api/v1",
    "/apis/apps/v1",
    "/apis/a.b/v1",
    "/api",
    "/apis",
    "/apis/apps",
    "",
    "/healthz",
    "/API/v1",
    "/api/v2",
    "/%61pi/v1",
];
const SEGMENTS: &[&str] = &[
    "namespaces",
    "namespaces",
    "pods",
    "services",
    "nodes",
    "secrets",
    "watch",
    "proxy",
    "status",
    "finalize",
    "exec",
    "log",
    "attach",
    "portforward",
    "token",
    "serviceaccounts",
    "default",
    "web",
    "a%20b",
    "%6eamespaces",
    "%2e%2e",
    "a%2Fb",
    "",
    ".",
    "..",
    "a;b",
    "a:80",
    "https:a:443",
    "%zz",
    "a%25b",
    "é",
    "%C3%A9",
    "@",
    "+",
    "~",
    "a%2Bb",
    "*",
];
const QUERIES: &[&str] = &[
    "",
    "",
    "",
    "watch=true",
    "watch=false",
    "watch=0",
    "watch=1",
    "watch",
    "watch=",
    "Watch=true",
    "watch=False",
    "watch=no",
    "%77atch=1",
    "watch=%74rue",
    "limit=5",
    "limit=x",
    "resourceVersion=0",
    "timeoutSeconds=5",
    "timeoutSeconds=x",
    "allowWatchBookmarks=true",
    "sendInitialEvents=x",
    "fieldSelector=metadata.name%3Dweb",
    "fieldSelector=metadata.name=web",
    "fieldSelector=metadata.name==web",
    "fieldSelector=metadata.name!%3Dweb",
    "fieldSelector=metadata.name%3Da%2Cmetadata.name%3Db",
    "fieldSelector=spec.x%3D1",
    "fieldSelector=junk",
    "fieldSelector=metadata.name%3D..",
    "labelSelector=a%3Db",
    "labelSelector=%3D%3D",
    "a;b",
    "x=%zz",
    "continue=x",
    "resourceVersionMatch=Exact",
    "shards=2",
    "watch=+true",
    "watch=t",
];

fn line(dice: &mut Dice) -> String {
    let mut line = format!("{} {}", dice.pick(METHODS), dice.pick(ROOTS));
    for _ in 0..dice.roll(7) {
        line.push('/');
        line.push_str(dice.pick(SEGMENTS));
    }
    if line.ends_with(' ') || dice.roll(12) == 0 {
        line.push('/');
    }
    for i in 0..dice.roll(3) {
        let query = dice.pick(QUERIES);
        line.push_str(if i == 0 { "?" } else { "&" });
        line.push_str(query);
    }
    line
}

/// Builds the Go program; `None` when Go is not there.
fn theirs() -> Option<PathBuf> {
    Command::new("go").arg("version").stdout(Stdio::null()).status().ok().filter(|s| s.success())?;
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/abuse/requestinfo");
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("requestinfo");
    let built = Command::new("go").args(["build", "-o"]).arg(&program).arg(".").current_dir(source).status();
    assert!(built.is_ok_and(|s| s.success()), "the Go program does not build");
    Some(program)
}

fn ask(program: &Path, lines: &[String]) -> Vec<Theirs> {
    let mut child =
        Command::new(program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it was just built");
    let mut input = child.stdin.take().expect("a pipe was asked for");
    let text = lines.join("\n") + "\n";
    let writer = std::thread::spawn(move || input.write_all(text.as_bytes()));
    let output = child.wait_with_output().expect("it runs");
    writer.join().expect("it does not panic").expect("it reads everything");
    let text = String::from_utf8(output.stdout).expect("JSON is text");
    text.lines().map(|line| serde_json::from_str(line).expect("one answer per line")).collect()
}

#[test]
fn request_info_is_the_api_servers_or_a_denial() {
    let Some(program) = theirs() else {
        return print("T040 skipped  Go is not installed: our RequestInfo was not compared with the API server's");
    };
    let mut dice = Dice(0x5EED);
    let lines: Vec<String> = (0..REQUESTS).map(|_| line(&mut dice)).collect();
    let theirs = ask(&program, &lines);
    assert_eq!(theirs.len(), lines.len());
    let (mut compared, mut wrong) = (0, Vec::new());
    for (line, theirs) in lines.iter().zip(&theirs) {
        let Some(ours) = ours(line) else { continue };
        compared += 1;
        if !agrees(&ours, theirs) {
            wrong.push(format!("{line}\n  ours   {ours:?}\n  theirs {theirs:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {compared} differ:\n{}", wrong.len(), wrong[..wrong.len().min(20)].join("\n"));
    assert!(compared > REQUESTS / 5, "only {compared} were not denied: the comparison shows little");
    print(&format!(
        "T040 ok      RequestInfo: {compared} of {REQUESTS} requests as the API server reads them, the rest denied"
    ));
}
