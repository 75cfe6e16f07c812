# What differs between two runs of one command without meaning anything.
/^[[:space:]]*at [a-zA-Z]/d
/^[[:space:]]*\.\.\. [0-9]+ (more|common frames omitted)/d
/^RocketMQLog:/d
/^SLF4J/d
s/[[:space:]]+$//
s/ringmq [0-9]+\.[0-9]+\.[0-9]+/VERSION/g
s/(127\.0\.0\.1|[0-9]+\.[0-9]+\.[0-9]+\.[0-9]+):[0-9]+/ADDR/g
s/[0-9A-F]{32,56}/ID/g
s/[0-9]{4}-[0-9]{2}-[0-9]{2}[ T#][0-9]{2}:[0-9]{2}:[0-9]{2}([:,.][0-9]{3})?/TIME/g
s/\b[0-9]{17}\b/TIME/g
s/\b1[0-9]{12}\b/MS/g
s/[0-9.]+@[A-Za-z0-9_#]+(@[0-9]+)?(#[0-9]+)*/CLIENT/g
s/\b[0-9]+\.[0-9]+(E-?[0-9]+)?\b/N/g
s/(storeSize|commitLogOffset|physicOffset|physicSize)=[0-9]+/\1=N/g
s/__CRC32#=[0-9]+(, )?//g
s/[A-Za-z.$]+\$\$Lambda[^ ]*/LAMBDA/g
s/([A-Z][A-Za-z]+)@[0-9a-f]{6,8}/\1@HASH/g
s/rt=[0-9]+ms/rt=Nms/g
s/ [0-9]+ms( +success)/ Nms\1/
s/(write perm of broker.* OK, )[0-9]+/\1N/
s/(messageQueue=.*queueId=)[0-9]+(\], queueOffset=)[0-9]+/\1N\2N/
s/(N|[0-9.]+)\([0-9]+,[0-9]+ms(\|[0-9]+,[0-9]+ms)?\)/N(N)/g
s/[0-9]+-[0-9]+\([0-9.]+w, /N(N, /g
s/spentTimeMills=[0-9]+/spentTimeMills=N/g
s/^(broker-a +[0-9]+ +true +)[0-9]+$/\1N/
s/\b20[0-9]{12}\b/TIME/g
s/V5_5_0/VERSION/g
/RMQ_SYS_ROCKSDB_TRANS/d
s/[[:space:]]+/ /g
s/(CommitLog Offset: |MasterCommitLogMaxOffset )[0-9]+/\1N/
