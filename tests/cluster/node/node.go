package main

import (
	"context"
	"log"
	"runtime"
	"time"

	coordination "k8s.io/api/coordination/v1"
	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"
)

// taint keeps the scheduler away: pods come here by spec.nodeName only.
const taint = "roadstead.dev/test-node"

// keepNode registers the node and keeps it Ready: its lease is renewed every 10 s, as a kubelet does, or the node controller
// would call it dead after 40 s. The status is written again each time, so a node object that somebody deleted comes back.
func keepNode(ctx context.Context, client kubernetes.Interface, name string, port int32) {
	for ctx.Err() == nil {
		wait := 10 * time.Second
		if err := register(ctx, client, name, port); err != nil {
			log.Printf("registering the node: %v", err)
			wait = 500 * time.Millisecond
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

func register(ctx context.Context, client kubernetes.Interface, name string, port int32) error {
	nodes := client.CoreV1().Nodes()
	node, err := nodes.Get(ctx, name, meta.GetOptions{})
	if errors.IsNotFound(err) {
		node, err = nodes.Create(ctx, newNode(name), meta.CreateOptions{})
	}
	if err != nil {
		return err
	}
	if !ready(node, port) {
		node.Status = status(name, port)
		if _, err := nodes.UpdateStatus(ctx, node, meta.UpdateOptions{}); err != nil {
			return err
		}
	}
	return renew(ctx, client, name)
}

func newNode(name string) *core.Node {
	return &core.Node{
		ObjectMeta: meta.ObjectMeta{Name: name, Labels: map[string]string{
			core.LabelHostname:   name,
			core.LabelOSStable:   "linux",
			core.LabelArchStable: runtime.GOARCH,
			taint:                "true",
		}},
		Spec: core.NodeSpec{Taints: []core.Taint{{Key: taint, Effect: core.TaintEffectNoSchedule}}},
	}
}

func ready(node *core.Node, port int32) bool {
	for _, condition := range node.Status.Conditions {
		if condition.Type == core.NodeReady {
			return condition.Status == core.ConditionTrue && node.Status.DaemonEndpoints.KubeletEndpoint.Port == port
		}
	}
	return false
}

func status(name string, port int32) core.NodeStatus {
	size := core.ResourceList{
		core.ResourceCPU: resource.MustParse("4"), core.ResourceMemory: resource.MustParse("8Gi"), core.ResourcePods: resource.MustParse("110"),
	}
	now := meta.Now()
	return core.NodeStatus{
		Capacity:    size,
		Allocatable: size,
		Addresses: []core.NodeAddress{
			{Type: core.NodeInternalIP, Address: "127.0.0.1"}, {Type: core.NodeHostName, Address: name},
		},
		Conditions: []core.NodeCondition{{
			Type: core.NodeReady, Status: core.ConditionTrue, Reason: "TestNodeReady", Message: "the test node serves",
			LastHeartbeatTime: now, LastTransitionTime: now,
		}},
		DaemonEndpoints: core.NodeDaemonEndpoints{KubeletEndpoint: core.DaemonEndpoint{Port: port}},
		NodeInfo: core.NodeSystemInfo{
			KubeletVersion: "v1.36.3-testnode", ContainerRuntimeVersion: "process://1", OperatingSystem: "linux", Architecture: runtime.GOARCH,
		},
	}
}

func renew(ctx context.Context, client kubernetes.Interface, name string) error {
	leases := client.CoordinationV1().Leases(core.NamespaceNodeLease)
	now := ptr.To(meta.NewMicroTime(time.Now()))
	lease, err := leases.Get(ctx, name, meta.GetOptions{})
	if errors.IsNotFound(err) {
		_, err = leases.Create(ctx, &coordination.Lease{
			ObjectMeta: meta.ObjectMeta{Name: name, Namespace: core.NamespaceNodeLease},
			Spec:       coordination.LeaseSpec{HolderIdentity: &name, LeaseDurationSeconds: ptr.To[int32](40), RenewTime: now},
		}, meta.CreateOptions{})
		return err
	}
	if err != nil {
		return err
	}
	lease.Spec.RenewTime = now
	_, err = leases.Update(ctx, lease, meta.UpdateOptions{})
	return err
}
