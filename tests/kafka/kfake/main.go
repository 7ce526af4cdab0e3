// Command kfake is franz-go's fake cluster as a program: a third judge of the producer, written by strangers, with
// faults that real brokers show seldom. It is lax about encoding, of which real Kafka is the judge.
//
// It prints one JSON line with the brokers' addresses, then obeys standard input, a JSON array of words a line, each
// answered by one JSON line; the end of standard input ends it.
//
//	["create", TOPIC, PARTITIONS]
//	["lead", TOPIC, PARTITION, NODE]      makes NODE the leader
//	["shuffle"]                           gives every partition a leader by chance
//	["remove", NODE]   ["add", NODE]      a node leaves, and comes back at its port
//	["fault", CALL, ERROR, COUNT]         COUNT requests of a call fail; ERROR by its name, as REQUEST_TIMED_OUT
//	["hits"]                              requests that faults have answered so far
//	["lose", COUNT]                       the answers to COUNT Produce requests are lost, and their connections
//	["truncate", TOPIC, PARTITION]        deletes all records
//	["leaders", TOPIC]
//	["consume", TOPIC, FILE]              franz-go's own consumer reads everything: a JSON line a record
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
)

type answer = map[string]any

type fake struct {
	cluster *kfake.Cluster
	ports   []int
	faults  []*kfake.FaultHandle
	lossy   *lossy
}

func main() {
	ports := flag.String("ports", "", "one for each broker, separated by commas")
	version := flag.String("version", "", "as old as this Kafka, such as v2.1; the newest otherwise")
	flag.Parse()
	it, err := start(*ports, *version)
	if err != nil {
		fmt.Fprintln(os.Stderr, "kfake:", err)
		os.Exit(1)
	}
	defer it.cluster.Close()
	say(answer{"ok": true, "addresses": it.cluster.ListenAddrs()})
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		told, err := it.line(in.Bytes())
		if err != nil {
			told = answer{"ok": false, "error": err.Error()}
		} else {
			told["ok"] = true
		}
		say(told)
	}
}

func start(ports, version string) (*fake, error) {
	it := &fake{lossy: &lossy{armed: map[int32]int{}}}
	options := []kfake.Opt{kfake.ListenFn(it.lossy.listen)}
	for _, text := range strings.Split(ports, ",") {
		port, err := strconv.Atoi(text)
		if err != nil {
			return nil, err
		}
		it.ports = append(it.ports, port)
	}
	options = append(options, kfake.Ports(it.ports...))
	it.lossy.ports = it.ports
	if version != "" {
		versions := kversion.FromString(version)
		if versions == nil {
			return nil, fmt.Errorf("%s is no version", version)
		}
		options = append(options, kfake.MaxVersions(versions))
	}
	cluster, err := kfake.NewCluster(options...)
	it.cluster = cluster
	return it, err
}

func say(what answer) {
	line, err := json.Marshal(what)
	if err != nil {
		panic(err)
	}
	fmt.Println(string(line))
}

func (it *fake) line(line []byte) (answer, error) {
	var words []string
	if err := json.Unmarshal(line, &words); err != nil {
		return nil, err
	}
	if len(words) == 0 {
		return nil, errors.New("no word")
	}
	return it.one(words[0], words[1:])
}

func (it *fake) one(word string, rest []string) (answer, error) {
	wants := map[string]int{"create": 2, "lead": 3, "shuffle": 0, "remove": 1, "add": 1, "fault": 3, "hits": 0, "lose": 1,
		"truncate": 2, "leaders": 1, "consume": 2}
	if n, known := wants[word]; !known || n != len(rest) {
		return nil, fmt.Errorf("unknown, or not with %d words: %s", len(rest), word)
	}
	switch word {
	case "create":
		return answer{}, it.cluster.CreateTopic(rest[0], number(rest[1]), nil)
	case "lead":
		return answer{}, it.cluster.MoveTopicPartition(rest[0], number(rest[1]), number(rest[2]))
	case "shuffle":
		it.cluster.ShufflePartitionLeaders()
	case "remove":
		return answer{}, it.cluster.RemoveNode(number(rest[0]))
	case "add":
		_, _, err := it.cluster.AddNode(number(rest[0]), it.ports[number(rest[0])])
		return answer{}, err
	case "fault":
		return it.fault(rest[0], rest[1], int(number(rest[2])))
	case "hits":
		hits := 0
		for _, handle := range it.faults {
			hits += handle.Hits()
		}
		return answer{"hits": hits, "lost": it.lossy.count()}, nil
	case "lose":
		it.lose(int(number(rest[0])))
	case "truncate":
		return answer{}, it.cluster.DeleteRecords(rest[0], number(rest[1]), -1)
	case "leaders":
		leaders := []int32{}
		for _, info := range it.cluster.PartitionInfos(rest[0]) {
			leaders = append(leaders, info.Leader)
		}
		return answer{"leaders": leaders}, nil
	case "consume":
		return consume(it.cluster, rest[0], rest[1])
	}
	return answer{}, nil
}

// number panics on what is none: a test's mistake, which ends the program and with it the row.
func number(text string) int32 {
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil {
		panic(err)
	}
	return int32(n)
}

func (it *fake) fault(call, name string, count int) (answer, error) {
	var key kmsg.Key = -1
	for k := kmsg.Key(0); k < 100; k++ {
		if kmsg.NameForKey(int16(k)) == call {
			key = k
		}
	}
	var code *kerr.Error
	for n := int16(-1); n < 200; n++ {
		if err, ok := kerr.ErrorForCode(n).(*kerr.Error); ok && err.Message == name {
			code = err
		}
	}
	if key < 0 || code == nil {
		return nil, fmt.Errorf("no such call or error: %s, %s", call, name)
	}
	it.faults = append(it.faults, it.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{key}, Err: code, Count: count}))
	return answer{}, nil
}

// lose arms the node that a Produce request came to: the next write on one of its connections, which is the answer or
// one before it, ends that connection instead. A control that returned an error would end it before the append.
func (it *fake) lose(count int) {
	it.cluster.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		it.lossy.arm(it.cluster.CurrentNode())
		if count--; count == 0 {
			it.cluster.DropControl()
		} else {
			it.cluster.KeepControl()
		}
		return nil, nil, false
	})
}

// lossy makes listeners whose connections end at an armed write.
type lossy struct {
	mutex sync.Mutex
	ports []int
	armed map[int32]int
	lost  int
}

func (it *lossy) arm(node int32) {
	it.mutex.Lock()
	defer it.mutex.Unlock()
	it.armed[node]++
}

func (it *lossy) strikes(node int32) bool {
	it.mutex.Lock()
	defer it.mutex.Unlock()
	if it.armed[node] == 0 {
		return false
	}
	it.armed[node]--
	it.lost++
	return true
}

func (it *lossy) count() int {
	it.mutex.Lock()
	defer it.mutex.Unlock()
	return it.lost
}

func (it *lossy) listen(network, address string) (net.Listener, error) {
	listener, err := net.Listen(network, address)
	if err != nil {
		return nil, err
	}
	node := int32(-1)
	for n, port := range it.ports {
		if listener.Addr().(*net.TCPAddr).Port == port {
			node = int32(n)
		}
	}
	return &lossyListener{listener, it, node}, nil
}

type lossyListener struct {
	net.Listener
	lossy *lossy
	node  int32
}

func (it *lossyListener) Accept() (net.Conn, error) {
	conn, err := it.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &lossyConn{conn, it}, nil
}

type lossyConn struct {
	net.Conn
	of *lossyListener
}

func (it *lossyConn) Write(bytes []byte) (int, error) {
	if it.of.lossy.strikes(it.of.node) {
		it.Conn.Close()
		return 0, net.ErrClosed
	}
	return it.Conn.Write(bytes)
}
