// A Kubernetes API server with an etcd in the same process, for `kubectl apply --dry-run=server`.
package main

import (
	"fmt"
	"net/url"
	"os"

	"go.etcd.io/etcd/server/v3/embed"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
)

func main() {
	if err := run(os.Args[1], os.Args[2], os.Args[3:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run starts etcd on Unix sockets in dir, then the API server.
func run(dir, port string, args []string) error {
	if err := os.Chdir(dir); err != nil {
		return err
	}
	// Sockets in dir, which etcd names like this.
	client := url.URL{Scheme: "unix", Host: "client:1"}
	peer := url.URL{Scheme: "unix", Host: "peer:1"}
	config := embed.NewConfig()
	config.Dir = "etcd"
	config.LogLevel = "error"
	config.UnsafeNoFsync = true
	config.ListenClientUrls, config.AdvertiseClientUrls = []url.URL{client}, []url.URL{client}
	config.ListenPeerUrls, config.AdvertisePeerUrls = []url.URL{peer}, []url.URL{peer}
	config.InitialCluster = config.InitialClusterFromName(config.Name)
	etcd, err := embed.StartEtcd(config)
	if err != nil {
		return err
	}
	defer etcd.Close()
	<-etcd.Server.ReadyNotify()
	command := app.NewAPIServerCommand()
	command.SetArgs(append([]string{
		"--etcd-servers=" + client.String(),
		"--secure-port=" + port,
		"--bind-address=127.0.0.1",
	}, args...))
	return command.Execute()
}
