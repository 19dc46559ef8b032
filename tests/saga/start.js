// Starts a trip as a service in TypeScript does: node start.js HOST:PORT TASK_QUEUE WORKFLOW_ID INPUT
const { Client, Connection } = require("@temporalio/client");

async function main([address, taskQueue, workflowId, input]) {
  const connection = await Connection.connect({ address });
  const client = new Client({ connection });
  const args = [JSON.parse(input)];
  const trip = await client.workflow.start("BookingWorkflow", { taskQueue, workflowId, args });
  console.log(JSON.stringify(await trip.result()));
  await connection.close();
}

main(process.argv.slice(2)).catch((error) => {
  console.error(error.cause?.message ?? error.message);
  process.exit(1);
});
