package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"sync"
	"time"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"
)

// pods is what runs on this node: it follows the API server's pods with spec.nodeName = this node.
type pods struct {
	client kubernetes.Interface
	node   string
	dir    string
	port   int // of our listener: unique on this machine, and so are the pod addresses made of it

	mu    sync.Mutex
	byUID map[types.UID]*pod
	count int
}

// pod is one pod and its processes; each pod has a directory and a loopback address of its own.
type pod struct {
	namespace, name string
	uid             types.UID
	ip, dir         string
	started         meta.Time
	containers      []*container
	ending          bool // guarded by pods.mu
}

func newPods(client kubernetes.Interface, node, dir string, port int) *pods {
	return &pods{client: client, node: node, dir: dir, port: port, byUID: map[types.UID]*pod{}}
}

// watch starts and stops pods until ctx ends; it survives restarts of the API server.
func (p *pods) watch(ctx context.Context) {
	source := cache.NewListWatchFromClient(p.client.CoreV1().RESTClient(), "pods", meta.NamespaceAll, fields.OneTermEqualSelector("spec.nodeName", p.node))
	_, informer := cache.NewInformerWithOptions(cache.InformerOptions{
		ListerWatcher: source,
		ObjectType:    &core.Pod{},
		Handler: cache.ResourceEventHandlerFuncs{
			AddFunc:    func(object any) { p.follow(ctx, object.(*core.Pod)) },
			UpdateFunc: func(_, object any) { p.follow(ctx, object.(*core.Pod)) },
			DeleteFunc: func(object any) {
				if last, ok := object.(cache.DeletedFinalStateUnknown); ok {
					object = last.Obj
				}
				if gone, ok := object.(*core.Pod); ok {
					p.forget(gone.UID)
				}
			},
		},
	})
	informer.Run(ctx.Done())
}

func (p *pods) follow(ctx context.Context, object *core.Pod) {
	p.mu.Lock()
	known := p.byUID[object.UID]
	p.mu.Unlock()
	switch {
	case object.DeletionTimestamp != nil:
		go p.end(ctx, object, known)
	case known == nil && object.Status.Phase == core.PodPending:
		if err := p.start(ctx, object); err != nil {
			log.Printf("starting pod %s/%s: %v", object.Namespace, object.Name, err)
		}
	}
}

func (p *pods) start(ctx context.Context, object *core.Pod) error {
	p.mu.Lock()
	p.count++
	// 127.<port, high byte>.<port, low byte>.<n>: Linux answers on all of 127/8, so no two nodes of one machine collide.
	ip := fmt.Sprintf("127.%d.%d.%d", p.port>>8, p.port&255, p.count%254+1)
	p.mu.Unlock()
	dir := filepath.Join(p.dir, fmt.Sprintf("%s_%s_%s", object.Namespace, object.Name, object.UID))
	if err := os.MkdirAll(filepath.Join(dir, "root"), 0o755); err != nil {
		return err
	}
	it := &pod{namespace: object.Namespace, name: object.Name, uid: object.UID, ip: ip, dir: dir, started: meta.Now()}
	for i := range object.Spec.Containers {
		it.containers = append(it.containers, newContainer(it, &object.Spec.Containers[i], object.Spec.RestartPolicy))
	}
	p.mu.Lock()
	p.byUID[it.uid] = it
	p.mu.Unlock()
	for _, c := range it.containers {
		go c.run(func() { p.report(ctx, it) })
	}
	return nil
}

// report writes the pod's status to the API server, as often as it takes.
func (p *pods) report(ctx context.Context, it *pod) {
	for ctx.Err() == nil {
		object, err := p.client.CoreV1().Pods(it.namespace).Get(ctx, it.name, meta.GetOptions{})
		if errors.IsNotFound(err) || err == nil && object.UID != it.uid {
			return
		}
		if err == nil {
			it.fill(&object.Status)
			if _, err = p.client.CoreV1().Pods(it.namespace).UpdateStatus(ctx, object, meta.UpdateOptions{}); err == nil {
				return
			}
		}
		if !errors.IsConflict(err) {
			time.Sleep(200 * time.Millisecond)
		}
	}
}

// fill says what the containers do now.
func (it *pod) fill(status *core.PodStatus) {
	var running, failed int
	status.ContainerStatuses = nil
	for _, c := range it.containers {
		state := c.status()
		if state.Ready {
			running++
		}
		if state.State.Terminated != nil && state.State.Terminated.ExitCode != 0 {
			failed++
		}
		status.ContainerStatuses = append(status.ContainerStatuses, state)
	}
	allReady := core.ConditionFalse
	if running == len(it.containers) {
		allReady = core.ConditionTrue
	}
	switch {
	case it.mayRunAgain():
		status.Phase = core.PodRunning
	case failed > 0:
		status.Phase = core.PodFailed
	default:
		status.Phase = core.PodSucceeded
	}
	status.HostIP, status.HostIPs = "127.0.0.1", []core.HostIP{{IP: "127.0.0.1"}}
	status.PodIP, status.PodIPs = it.ip, []core.PodIP{{IP: it.ip}}
	status.StartTime = &it.started
	status.Conditions = nil
	for kind, value := range map[core.PodConditionType]core.ConditionStatus{
		core.PodScheduled: core.ConditionTrue, core.PodInitialized: core.ConditionTrue, core.ContainersReady: allReady, core.PodReady: allReady,
	} {
		status.Conditions = append(status.Conditions, core.PodCondition{Type: kind, Status: value, LastTransitionTime: it.started})
	}
}

func (it *pod) mayRunAgain() bool {
	for _, c := range it.containers {
		if !c.finished() {
			return true
		}
	}
	return false
}

// end stops a pod that is being deleted, within its grace, and then lets the API server forget it.
func (p *pods) end(ctx context.Context, object *core.Pod, known *pod) {
	if known != nil {
		p.mu.Lock()
		already := known.ending
		known.ending = true
		p.mu.Unlock()
		if already {
			return
		}
		grace := time.Duration(ptr.Deref(object.DeletionGracePeriodSeconds, 30)) * time.Second
		known.stop(grace)
	}
	for ctx.Err() == nil {
		err := p.client.CoreV1().Pods(object.Namespace).Delete(ctx, object.Name, meta.DeleteOptions{
			GracePeriodSeconds: ptr.To[int64](0), Preconditions: &meta.Preconditions{UID: &object.UID},
		})
		if err == nil || errors.IsNotFound(err) || errors.IsConflict(err) {
			return
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// stop ends all containers at once: SIGTERM, and SIGKILL after grace.
func (it *pod) stop(grace time.Duration) {
	var all sync.WaitGroup
	for _, c := range it.containers {
		all.Go(func() { c.stop(grace) })
	}
	all.Wait()
}

func (p *pods) forget(uid types.UID) {
	p.mu.Lock()
	it := p.byUID[uid]
	delete(p.byUID, uid)
	p.mu.Unlock()
	if it == nil {
		return
	}
	it.stop(0)
	if err := os.RemoveAll(it.dir); err != nil {
		log.Printf("removing %s: %v", it.dir, err)
	}
}

func (p *pods) stopAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, it := range p.byUID {
		it.stop(0)
	}
}

// find gives the container that a request names.
func (p *pods) find(namespace, name, of string) (*container, error) {
	it, err := p.findPod(namespace, name)
	if err != nil {
		return nil, err
	}
	for _, c := range it.containers {
		if c.spec.Name == of {
			return c, nil
		}
	}
	return nil, fmt.Errorf("container %q not found in pod %q", of, name)
}

func (p *pods) findPod(namespace, name string) (*pod, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, it := range p.byUID {
		if it.namespace == namespace && it.name == name {
			return it, nil
		}
	}
	return nil, fmt.Errorf("pod %q does not exist", name)
}
