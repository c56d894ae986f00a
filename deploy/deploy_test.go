// Package deploy holds what sets meterd up and runs it on real servers. Its tests
// keep the compose file and the image to what the documents promise, and try
// set-up on machines of stubs; they start no engine and install nothing.
package deploy

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/stretchr/testify/require"
)

const composeFile = "../docker-compose.yml"

// load reads the compose file as `docker compose` would in this environment.
func load(t *testing.T, environment types.Mapping) *types.Project {
	t.Helper()
	text, err := os.ReadFile(composeFile)
	require.NoError(t, err)
	project, err := loader.LoadWithContext(t.Context(), types.ConfigDetails{
		WorkingDir:  "..",
		ConfigFiles: []types.ConfigFile{{Filename: composeFile, Content: text}},
		Environment: environment,
	})
	require.NoError(t, err)
	return project
}

// workers are the services that run the project's own image.
func workers(project *types.Project) []types.ServiceConfig {
	var found []types.ServiceConfig
	for _, s := range project.Services {
		if s.Build != nil {
			found = append(found, s)
		}
	}
	return found
}

func TestServices(t *testing.T) {
	t.Parallel()
	project := load(t, nil)
	require.ElementsMatch(t, []string{"redis", "clickhouse", "worker-1", "worker-2"}, project.ServiceNames())
	for name, s := range project.Services {
		require.NotNil(t, s.HealthCheck, name)
		require.NotEmpty(t, s.HealthCheck.Test, name)
		require.NotEmpty(t, s.Volumes, name)
		_, tag, ok := strings.Cut(s.Image, ":")
		require.True(t, ok && tag != "", "%s: name a version of %s", name, s.Image)
		require.NotContains(t, tag, "latest", name)
		for _, p := range s.Ports {
			require.Equal(t, "127.0.0.1", p.HostIP, "%s is open to the network", name)
		}
		for _, v := range s.Volumes {
			require.Contains(t, project.Volumes, v.Source, name)
		}
	}
}

func TestRedisKeepsTheQueue(t *testing.T) {
	t.Parallel()
	redis := load(t, nil).Services["redis"]
	require.Regexp(t, `^redis:7\.`, redis.Image)
	for flag, want := range map[string]string{
		"--appendonly": "yes", "--appendfsync": "always", "--aof-load-truncated": "no", "--maxmemory-policy": "noeviction",
	} {
		i := slices.Index(redis.Command, flag)
		require.GreaterOrEqual(t, i, 0, flag)
		require.Equal(t, want, redis.Command[i+1], flag)
	}
	require.Equal(t, "/data", redis.Volumes[0].Target)
}

func TestClickHouse(t *testing.T) {
	t.Parallel()
	clickhouse := load(t, nil).Services["clickhouse"]
	require.Regexp(t, `^clickhouse/clickhouse-server:26\.`, clickhouse.Image)
	require.Equal(t, "/var/lib/clickhouse", clickhouse.Volumes[0].Target)
}

func TestTwoWorkers(t *testing.T) {
	t.Parallel()
	found := workers(load(t, nil))
	require.Len(t, found, 2)
	for _, w := range found {
		require.Equal(t, types.ShellCommand{"worker"}, w.Command)
		require.Equal(t, "redis://:change-me@redis:6379/0", *w.Environment["METERD_REDIS"])
		require.Equal(t, "http://meterd:change-me@clickhouse:8123", *w.Environment["METERD_CLICKHOUSE"])
		require.Equal(t, "0.0.0.0:8480", *w.Environment["METERD_LISTEN"])
		require.True(t, w.ReadOnly, w.Name)
		for _, engine := range []string{"redis", "clickhouse"} {
			require.Equal(t, types.ServiceConditionHealthy, w.DependsOn[engine].Condition, "%s needs %s", w.Name, engine)
		}
	}
}

// TestReferencesResolve loads the file with an empty environment: whatever it
// refers to needs a default. Passwords given there reach both sides.
func TestReferencesResolve(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(composeFile)
	require.NoError(t, err)
	references := regexp.MustCompile(`(?:^|[^$])\$(\{?[A-Za-z_][^}\s"']*\}?)`).FindAllStringSubmatch(string(text), -1)
	require.NotEmpty(t, references)
	for _, r := range references {
		require.Regexp(t, `^\{[A-Z0-9_]+:-[^}]+\}$`, r[1], "give it a default")
	}

	project := load(t, types.Mapping{"METERD_REDIS_PASSWORD": "r3dis", "METERD_CLICKHOUSE_PASSWORD": "cl1ck"})
	require.Contains(t, project.Services["redis"].Command, "r3dis")
	require.Equal(t, "cl1ck", *project.Services["clickhouse"].Environment["CLICKHOUSE_PASSWORD"])
	for _, w := range workers(project) {
		require.Contains(t, *w.Environment["METERD_REDIS"], ":r3dis@")
		require.Contains(t, *w.Environment["METERD_CLICKHOUSE"], ":cl1ck@")
	}
}

func TestDockerfile(t *testing.T) {
	t.Parallel()
	for _, w := range workers(load(t, nil)) {
		require.Equal(t, "deploy/Dockerfile", w.Build.Dockerfile)
	}
	text, err := os.ReadFile("Dockerfile")
	require.NoError(t, err)
	stages := regexp.MustCompile(`(?m)^FROM (\S+)(?: AS (\S+))?$`).FindAllStringSubmatch(string(text), -1)
	require.Len(t, stages, 2)
	require.Regexp(t, `^golang:1\.26`, stages[0][1])
	require.Regexp(t, `^(scratch|gcr\.io/distroless/(static|base)-debian\d+:nonroot)$`, stages[1][1], "the last stage is a small image")
	require.NotContains(t, string(text), ":latest")

	_, final, ok := strings.Cut(string(text), "FROM "+stages[1][1])
	require.True(t, ok)
	require.Contains(t, string(text), "CGO_ENABLED=0 go build")
	require.Regexp(t, `(?m)^USER 65532`, final, "not root")
	require.Regexp(t, `(?m)^ENTRYPOINT \["/usr/bin/meterd"\]$`, final)
	require.Contains(t, string(text), fontPackages)
	require.Contains(t, final, "COPY --from=build /out/fonts /usr/share/fonts\n")
	require.NotContains(t, final, "RUN", "there is no shell in the last stage")
}
