// Reads "METHOD TARGET" lines and answers each with what the Kubernetes API server makes of it, as one line of JSON:
// its own RequestInfo code, with the prefixes that kube-apiserver gives it. Judges nothing; tests/abuse compares.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"

	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/endpoints/request"
)

type answer struct {
	Error       string `json:"error,omitempty"`
	IsResource  bool   `json:"isResource"`
	Path        string `json:"path"`
	Verb        string `json:"verb"`
	APIGroup    string `json:"group"`
	APIVersion  string `json:"version"`
	Namespace   string `json:"namespace"`
	Resource    string `json:"resource"`
	Subresource string `json:"subresource"`
	Name        string `json:"name"`
}

func read(factory *request.RequestInfoFactory, line string) answer {
	method, target, _ := strings.Cut(line, " ")
	parsed, err := url.ParseRequestURI(target) // what net/http does with a request line
	if err != nil {
		return answer{Error: err.Error()}
	}
	info, err := factory.NewRequestInfo(&http.Request{Method: method, URL: parsed})
	if err != nil {
		return answer{Error: err.Error()}
	}
	return answer{
		IsResource: info.IsResourceRequest, Path: info.Path, Verb: info.Verb, APIGroup: info.APIGroup, APIVersion: info.APIVersion,
		Namespace: info.Namespace, Resource: info.Resource, Subresource: info.Subresource, Name: info.Name,
	}
}

func main() {
	factory := &request.RequestInfoFactory{APIPrefixes: sets.NewString("api", "apis"), GrouplessAPIPrefixes: sets.NewString("api")}
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(make([]byte, 1<<20), 1<<20)
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	encoder := json.NewEncoder(out)
	for in.Scan() {
		if err := encoder.Encode(read(factory, in.Text())); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	if err := in.Err(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
