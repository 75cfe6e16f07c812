package main

import (
	"context"
	"fmt"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

// decides by a message's body; a transaction without a decision is committed when the broker checks it.
type decides struct {
	lock  sync.Mutex
	asked []string
}

func (d *decides) ExecuteLocalTransaction(m *primitive.Message) primitive.LocalTransactionState {
	switch {
	case strings.HasPrefix(string(m.Body), "commit"):
		return primitive.CommitMessageState
	case strings.HasPrefix(string(m.Body), "roll back"):
		return primitive.RollbackMessageState
	}
	return primitive.UnknowState
}

func (d *decides) CheckLocalTransaction(m *primitive.MessageExt) primitive.LocalTransactionState {
	d.lock.Lock()
	defer d.lock.Unlock()
	d.asked = append(d.asked, string(m.Body))
	return primitive.CommitMessageState
}

// Committed messages are delivered, at once or after the check by the broker; the others never are.
func transaction(c *cluster) {
	topic := c.topic()
	var in inbox
	c.consumer("group", topic, "*", in.accept)
	var listener decides
	p, err := rocketmq.NewTransactionProducer(&listener, producer.WithNsResolver(c.resolver()),
		producer.WithGroupName(c.name("transactions")), producer.WithInstanceName(c.instance()))
	ok("a producer", err)
	ok("start of a producer", p.Start())
	c.shutdowns = append(c.shutdowns, func() { _ = p.Shutdown() })
	var expected []string
	for n := 0; n < 5; n++ {
		for _, end := range []string{"commit", "roll back", "ask"} {
			body := fmt.Sprint(end, " ", n)
			result, err := p.SendMessageInTransaction(context.Background(), primitive.NewMessage(topic, []byte(body)))
			ok("send", err)
			equal("status", primitive.SendOK, result.Status)
			if end != "roll back" {
				expected = append(expected, body)
			}
		}
	}
	in.await(len(expected))
	time.Sleep(2 * time.Second)
	equal("bodies", sorted(expected), bodies(in.all()))
	listener.lock.Lock()
	defer listener.lock.Unlock()
	equal("questions", []string{"ask 0", "ask 1", "ask 2", "ask 3", "ask 4"}, sorted(listener.asked))
}

func sorted(texts []string) []string {
	texts = append([]string(nil), texts...)
	sort.Strings(texts)
	return texts
}
