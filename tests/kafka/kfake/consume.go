package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

const patience = 30 * time.Second

// record is a line of what the rig's Java consumer writes too; byte slices become base64.
type record struct {
	Partition int32    `json:"partition"`
	Offset    int64    `json:"offset"`
	Timestamp int64    `json:"timestamp"`
	Key       []byte   `json:"key"`
	Headers   [][2]any `json:"headers"`
	Value     []byte   `json:"value"`
}

// consume reads every partition of a topic from its first record to its present end, partition by partition.
func consume(cluster *kfake.Cluster, topic, to string) (answer, error) {
	file, err := os.Create(to)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	out := bufio.NewWriter(file)
	lines := json.NewEncoder(out)
	records := 0
	for _, info := range cluster.PartitionInfos(topic) {
		n, err := partition(cluster, topic, info, lines)
		if err != nil {
			return nil, err
		}
		records += n
	}
	return answer{"records": records}, out.Flush()
}

func partition(cluster *kfake.Cluster, topic string, info *kfake.PartitionInfo, to *json.Encoder) (int, error) {
	if info.HighWatermark == info.LogStartOffset {
		return 0, nil
	}
	from := map[string]map[int32]kgo.Offset{topic: {info.Partition: kgo.NewOffset().At(info.LogStartOffset)}}
	client, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...), kgo.ConsumePartitions(from))
	if err != nil {
		return 0, err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	records := 0
	for next := info.LogStartOffset; next < info.HighWatermark; {
		fetches := client.PollFetches(ctx)
		if ctx.Err() != nil {
			return 0, fmt.Errorf("%s-%d stands still at %d of %d", topic, info.Partition, next, info.HighWatermark)
		}
		for _, it := range fetches.Records() {
			if it.Offset >= info.HighWatermark {
				break
			}
			if err := to.Encode(told(it)); err != nil {
				return 0, err
			}
			records, next = records+1, it.Offset+1
		}
	}
	return records, nil
}

func told(it *kgo.Record) record {
	headers := [][2]any{}
	for _, header := range it.Headers {
		headers = append(headers, [2]any{header.Key, header.Value})
	}
	return record{it.Partition, it.Offset, it.Timestamp.UnixMilli(), it.Key, headers, it.Value}
}
