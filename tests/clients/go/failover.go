package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
	"github.com/apache/rocketmq-client-go/v2/rlog"
)

// failover runs a producer and a consumer with the client's defaults while masters die, and prints the lines of Failover.java. It ends with its input.
func failover(namesrv, topic string) {
	rlog.SetLogLevel("fatal")
	var lock sync.Mutex
	line := func(kind string, fields ...any) {
		lock.Lock()
		defer lock.Unlock()
		fmt.Println(append([]any{kind, time.Now().UnixMilli()}, fields...)...)
	}
	resolver := primitive.NewPassthroughResolver([]string{namesrv})
	c, err := rocketmq.NewPushConsumer(consumer.WithNsResolver(resolver), consumer.WithGroupName("go-failover"),
		consumer.WithInstance("failover-consumer"), consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset))
	ok("a consumer", err)
	ok("subscribe", c.Subscribe(topic, consumer.MessageSelector{}, func(_ context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		for _, m := range messages {
			line("G", string(m.Body), m.Queue.BrokerName, m.Queue.QueueId, m.QueueOffset)
		}
		return consumer.ConsumeSuccess, nil
	}))
	ok("start of a consumer", c.Start())
	p, err := rocketmq.NewProducer(producer.WithNsResolver(resolver), producer.WithGroupName("go-failover-producer"), producer.WithInstanceName("failover-producer"))
	ok("a producer", err)
	ok("start of a producer", p.Start())
	quiet := make(chan struct{})
	go func() {
		for n := 0; ; n++ {
			select {
			case <-quiet:
				return
			case <-time.After(5 * time.Millisecond):
			}
			id := fmt.Sprintf("id-%08d;", n)
			begin := time.Now()
			sent, err := p.SendSync(context.Background(), primitive.NewMessage(topic, []byte(id)))
			took := time.Since(begin).Milliseconds()
			switch {
			case err != nil:
				line("F", id, took, strings.ReplaceAll(err.Error(), " ", "_"))
			case sent.Status == primitive.SendOK:
				line("A", id, sent.MessageQueue.BrokerName, sent.MessageQueue.QueueId, sent.QueueOffset, took)
			default:
				line("S", id, sent.MessageQueue.BrokerName, sent.MessageQueue.QueueId, sent.QueueOffset, sent.Status)
			}
		}
	}()
	caller := bufio.NewScanner(os.Stdin)
	isQuiet := false
	for caller.Scan() && caller.Text() != "end" {
		if caller.Text() == "quiet" && !isQuiet {
			isQuiet = true
			close(quiet)
		}
	}
}
