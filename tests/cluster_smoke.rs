//! The test cluster itself: it is what everything else is judged by, so it is judged first.

#[path = "cluster/mod.rs"]
mod cluster;

use anyhow::Result;
use cluster::{ControlPlane, Options};

#[test]
fn a_control_plane_serves_and_keeps_its_objects_over_a_restart() -> Result<()> {
    let mut plane = ControlPlane::start(Options::new("bare").with_audit_log())?;
    let namespaces = plane.kubectl_ok(&["get", "ns", "--output", "name"])?;
    assert!(namespaces.lines().any(|line| line == "namespace/kube-system"), "{namespaces}");
    plane.kubectl_ok(&["create", "namespace", "kept"])?;
    let before = plane.apiserver_pid();
    plane.kill_apiserver();
    assert!(!plane.kubectl(&["get", "ns"])?.status.success(), "a killed API server answers");
    plane.restart_apiserver()?;
    assert_ne!(plane.apiserver_pid(), before);
    plane.kubectl_ok(&["get", "namespace", "kept"])?;
    let audit = std::fs::read_to_string(plane.audit_log())?;
    assert!(
        audit.contains(r#""stage":"ResponseComplete""#) && audit.contains("/api/v1/namespaces/kept"),
        "{audit:.2000}"
    );
    Ok(())
}

#[test]
fn the_test_node_keeps_exit_codes_files_and_logs_over_spdy_and_websocket() -> Result<()> {
    let plane = ControlPlane::start(Options::new("pods").with_pods())?;
    for websocket in ["true", "false"] {
        let run = |args: &[&str]| {
            plane.kubectl_command().env("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", websocket).args(args).output()
        };
        let exec = run(&["exec", "--namespace", "demo", "shell", "--", "sh", "-c", "echo out; echo err >&2; exit 42"])?;
        assert_eq!(exec.status.code(), Some(42), "{exec:?}");
        assert_eq!(exec.stdout, b"out\n");
        assert!(exec.stderr.starts_with(b"err\n"), "{exec:?}");
        let source = plane.dir().join("source");
        std::fs::write(&source, vec![7_u8; 300_000])?;
        let (source, back) = (source.display().to_string(), plane.dir().join(websocket).display().to_string());
        assert!(run(&["cp", &source, "demo/shell:copy"])?.status.success());
        assert!(run(&["cp", "demo/shell:copy", &back])?.status.success());
        assert_eq!(std::fs::read(&back)?, vec![7_u8; 300_000]);
    }
    let bulk = plane.kubectl_ok(&["logs", "--namespace", "demo", "shell", "--container", "bulk", "--tail", "1"])?;
    assert!(bulk.starts_with("bulk line 100000 ."), "{bulk}");
    Ok(())
}

#[test]
fn deployments_roll_on_kwok() -> Result<()> {
    let plane = ControlPlane::start(Options::new("kwok").with_pods())?;
    plane.kubectl_ok(&["create", "deployment", "web", "--image", "web", "--replicas", "3"])?;
    plane.kubectl_ok(&["rollout", "status", "deployment/web", "--timeout", "60s"])?;
    plane.kubectl_ok(&["set", "image", "deployment/web", "web=web:2"])?;
    plane.kubectl_ok(&["rollout", "status", "deployment/web", "--timeout", "60s"])?;
    let nodes = plane.kubectl_ok(&[
        "get",
        "pods",
        "--selector",
        "app=web",
        "--output",
        "jsonpath={.items[*].spec.nodeName}",
    ])?;
    assert!(nodes.split(' ').all(|node| node.starts_with("kwok-")), "{nodes}");
    Ok(())
}
